/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Internet checksum (RFC 1071). */
#pragma once

#include "base/kernel.h"

/* The ones' complement of a sum of 16-bit words. The first addition of the
 * carries can carry again, so it is done twice. */
static __always_inline __u16 checksum_of_sum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* A checksum after one of the words that it covers went from `old` to `new` (RFC 1624, equation 3).
 * If now all of them are 0, so is this, and wrong.
 */
static __always_inline __u16 checksum_after(__u16 check, __u16 old, __u16 new)
{
	return checksum_of_sum((__u16)~check + (__u16)~old + new);
}

/* The same after a word went down by `less`, in fewer steps: as much comes to the checksum, with the
 * carry added, and 0xffff becomes the 0 that a full computation gives.
 */
static __always_inline __u16 checksum_of_less(__u16 check, __u16 less)
{
	__u32 sum = check + less;

	return sum + ((sum + 1) >> 16);
}
