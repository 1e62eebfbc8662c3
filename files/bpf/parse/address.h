/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses, and headers in words. */
#pragma once

#include "base/kernel.h"

#define FIRST_BYTE(header) (*(__u8 *)(header))
#define FIRST_WORD(header) (*(__be32 *)(header))

static __always_inline void copy_mac(void *to, const void *from)
{
	*(__u32 *)to = *(__u32 *)from;
	*(__u16 *)(to + 4) = *(__u16 *)(from + 4);
}

/* The six bytes of a MAC address, in memory order; the two behind them are read, too. */
static __always_inline __u64 mac_at(const void *mac)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return *(const __u64 *)mac << 16 >> 16;
#else
	return *(const __u64 *)mac >> 16 << 16;
#endif
}

/* Multicast or broadcast, which no frame can come from. */
static __always_inline int is_group(const void *mac)
{
	return *(const __u8 *)mac & 1;
}

struct address {
	union {
		__be32 word[4]; /* IPv4 in the first, the others 0 */
		__u64 half[2]; /* IPv6, in as few steps as there can be */
	};
};

static __always_inline void copy_address(void *to, const void *from)
{
	((__u64 *)to)[0] = ((const __u64 *)from)[0];
	((__u64 *)to)[1] = ((const __u64 *)from)[1];
}
