/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a map is declared. */
#pragma once

#include "base/kernel.h"

#ifdef PIN_DIR
#define KEYED(kind, key, leaf, name, size)                                                         \
	BPF_F_TABLE(kind ":" PIN_DIR "/" #name, key, leaf, name, size, 0)
#else
#define KEYED(kind, key, leaf, name, size) BPF_TABLE(kind, key, leaf, name, size)
#endif
#define TABLE(kind, leaf, name, size) KEYED(kind, __u32, leaf, name, size)

/* An array of maps, each of which holds a single `type`. Exchanging one of them is the only write
 * that packets can see, so it is how a new state takes effect.
 *
 * bcc wants an inner map to copy the shape from. It is declared by hand: BPF_TABLE would describe
 * its types to the kernel, which up to Linux 6.1 then takes no map without such a description, as
 * user space makes them. And bcc generates code that prints and scans the elements of every map,
 * one step per array member, which takes seconds for a large one; to it a byte array is a string,
 * a single step.
 */
#define TABLE_OF(type, name, size)                                                                 \
	struct name##_image {                                                                      \
		__u8 bytes[sizeof(type)];                                                          \
	};                                                                                         \
	struct name##_inner_table {                                                                \
		__u32 key;                                                                         \
		struct name##_image leaf;                                                          \
		__u32 max_entries;                                                                 \
		int flags;                                                                         \
	};                                                                                         \
	__attribute__((section("maps/array"))) struct name##_inner_table name##_inner = {          \
		.max_entries = 1,                                                                  \
	};                                                                                         \
	TABLE("array_of_maps$" #name "_inner", __u32, name, size)

#define ASSERT_SIZE(type, bytes)                                                                   \
	_Static_assert(sizeof(type) == (bytes), #type " is shared with the library")
