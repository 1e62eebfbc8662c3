/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a map is declared, and what a step answers. */
#pragma once

#include <uapi/linux/bpf.h>
#include <uapi/linux/icmp.h>
#include <uapi/linux/icmpv6.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/udp.h>

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
	_Static_assert(sizeof(type) == (bytes), #type " is shared with layout.py")

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

/* A step returns an XDP verdict, or this. */
#define GO_ON (-1)
