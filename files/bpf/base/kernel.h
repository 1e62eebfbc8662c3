/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel and bcc define for all files. Editors and linters find the kernel's headers under
 * other names, and a stand-in for bcc: as much of it as is used here.
 */
#pragma once

#if __has_include(<uapi/linux/bpf.h>)
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/icmp.h>
#include <uapi/linux/icmpv6.h>
#include <uapi/linux/pkt_cls.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/udp.h>
#else
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#endif

#ifndef BPF_F_TABLE /* bcc puts its own in front of every program */
#include <stddef.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define htons(number) __builtin_bswap16(number)
#define htonl(number) __builtin_bswap32(number)
#else
#define htons(number) ((__u16)(number))
#define htonl(number) ((__u32)(number))
#endif
#define ntohs(number) htons(number)
#define ntohl(number) htonl(number)

#define BPF_F_TABLE(kind, key_type, leaf_type, name, size, map_flags)                              \
	struct name##_table {                                                                      \
		key_type key;                                                                      \
		leaf_type leaf;                                                                    \
		leaf_type *(*lookup)(key_type *);                                                  \
		__u32 max_entries;                                                                 \
		int flags;                                                                         \
	};                                                                                         \
	__attribute__((section("maps/" kind))) struct name##_table name = {                        \
		.max_entries = (size),                                                             \
		.flags = (map_flags),                                                              \
	}
#define BPF_TABLE(kind, key_type, leaf_type, name, size)                                           \
	BPF_F_TABLE(kind, key_type, leaf_type, name, size, 0)
#define BPF_RINGBUF_OUTPUT(name, pages)                                                            \
	struct name##_table {                                                                      \
		int key;                                                                           \
		__u32 leaf;                                                                        \
		void *(*ringbuf_reserve)(__u64 size);                                              \
		void (*ringbuf_submit)(void *record, __u64 flags);                                 \
		__u32 max_entries;                                                                 \
	};                                                                                         \
	__attribute__((section("maps/ringbuf"))) struct name##_table name = {                      \
		.max_entries = (pages),                                                            \
	}

static void *(*bpf_map_lookup_elem)(void *map, void *key) = (void *)BPF_FUNC_map_lookup_elem;
static void *(*bpf_map_lookup_percpu_elem)(void *map, const void *key,
					   __u32 cpu) = (void *)BPF_FUNC_map_lookup_percpu_elem;
static long (*bpf_probe_read_kernel)(void *to, __u32 size,
				     const void *from) = (void *)BPF_FUNC_probe_read_kernel;
static __u64 (*bpf_ktime_get_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
static __u64 (*bpf_jiffies64)(void) = (void *)BPF_FUNC_jiffies64;
static int (*bpf_redirect)(int ifindex, __u32 flags) = (void *)BPF_FUNC_redirect;
static int (*bpf_csum_diff)(void *from, __u64 from_size, void *to, __u64 to_size,
			    __u64 seed) = (void *)BPF_FUNC_csum_diff;
static __u32 (*bpf_get_hash_recalc)(void *ctx) = (void *)BPF_FUNC_get_hash_recalc;
static int (*bpf_skb_adjust_room)(void *ctx, int difference, __u32 mode,
				  __u64 flags) = (void *)BPF_FUNC_skb_adjust_room;
static int (*bpf_xdp_adjust_head)(void *ctx, int offset) = (void *)BPF_FUNC_xdp_adjust_head;
static int (*bpf_xdp_adjust_tail)(void *ctx, int offset) = (void *)BPF_FUNC_xdp_adjust_tail;
static int (*bpf_fib_lookup)(void *ctx, void *params, int size,
			     __u32 flags) = (void *)BPF_FUNC_fib_lookup;
static long (*bpf_check_mtu)(void *ctx, __u32 ifindex, __u32 *mtu, __s32 difference,
			     __u64 flags) = (void *)BPF_FUNC_check_mtu;
#endif
