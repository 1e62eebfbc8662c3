/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the verifier and the compiler need to be told. */
#pragma once

#include "base/kernel.h"

/* Makes the verifier forget what it knows of a number, without changing it. It follows each path
 * through the program with the numbers that are known on it, and would take millions of steps for
 * paths that differ in an offset or a flag; where they meet, nothing is lost by forgetting those.
 * `unknown` is any number of which it knows nothing.
 */
#define FORGET(number, unknown)                                                                    \
	do {                                                                                       \
		__u64 forgotten = (number);                                                        \
		asm volatile("%0 ^= %1\n\t%0 ^= %1" : "+r"(forgotten) : "r"((__u64)(unknown)));    \
		(number) = forgotten;                                                              \
	} while (0)

/* Has the compiler work out a value here and once, where it would do so wherever it is used. */
#define WORK_OUT(value) asm volatile("" : "+r"(value))
