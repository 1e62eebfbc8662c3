/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a map is declared, and what a step answers. */
#pragma once

#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/udp.h>

#ifdef PIN_DIR
#define TABLE(kind, leaf, name, size)                                                              \
	BPF_F_TABLE(kind ":" PIN_DIR "/" #name, __u32, leaf, name, size, 0)
#else
#define TABLE(kind, leaf, name, size) BPF_TABLE(kind, __u32, leaf, name, size)
#endif

/* An array of maps, each of which holds a single `type`. Exchanging one of them is the only write
 * that packets can see, so it is how a new state takes effect.
 *
 * bcc wants an inner map to copy the shape from. It also generates code that prints and scans the
 * elements of every map, one step per array member, which takes seconds for a large one; to it a
 * byte array is a string, a single step.
 */
#define TABLE_OF(type, name, size)                                                                 \
	struct name##_image {                                                                      \
		__u8 bytes[sizeof(type)];                                                          \
	};                                                                                         \
	BPF_TABLE("array", __u32, struct name##_image, name##_inner, 1);                           \
	TABLE("array_of_maps$" #name "_inner", __u32, name, size)

#define ASSERT_SIZE(type, bytes)                                                                   \
	_Static_assert(sizeof(type) == (bytes), #type " is shared with layout.py")

/* A step returns an XDP verdict, or this. */
#define GO_ON (-1)
