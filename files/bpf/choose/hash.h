/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hashes of a flow: one picks its backend, the same on all balancers of a fleet; another, which is a
 * secret of this host, says where the flow table has it. The library has the same functions, in
 * schedulers/ and operations/trial/flow.py.
 *
 * Words of a packet are read as they are in memory, so machines of both byte orders balance alike
 * among themselves only.
 */
#pragma once

#include "base/kernel.h"
#include "parse/address.h"
#include "parse/packet.h"

#define GOLDEN_64 0x9e3779b97f4a7c15ULL /* 2^64 divided by the golden ratio; spreads keys */

/* The finaliser of splitmix64 (Stafford's variant 13): a bijection of 64-bit
 * words, so two IPv4 flows of one service never share a hash. */
static __always_inline __u64 mix64(__u64 x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	x ^= x >> 31;
	return x;
}

static __always_inline __u64 fold_and_multiply(__u64 x, __u64 odd)
{
	return (x ^ x >> 32) * odd;
}

/* Both halves of an address as one number. Whoever does not know the odd numbers knows no addresses
 * that become the same, or differ by what he knows.
 */
static __always_inline __u64 join_halves(const struct address *address, __u64 odd, __u64 other)
{
	return fold_and_multiply(address->half[0] * odd, other) +
	       fold_and_multiply(address->half[1] * other, odd);
}

/* Of the client and the ports (0 if they shall not count); for IPv4 it is a bijection. */
static __always_inline __u64 hash_flow(const struct packet *packet, __u32 ports, __u64 seed)
{
	__u64 key = seed * GOLDEN_64, client = packet->source.word[0];

#ifdef WITH_IPV6
	if (packet->family == 6)
		client = join_halves(&packet->source, key | 1, GOLDEN_64);
#endif
	return mix64(((__u64)ports << 32) ^ client ^ key);
}

#ifdef WITH_FLOW_TABLE
/* What the flow table knows a flow by; no packet that leaves shows any of it. As numbers are
 * multiplied by secret odd ones, the upper bits of two flows agree no more often than by chance,
 * whoever chose the flows. The service counts too, or a client's ports would meet in all services.
 * Two IPv4 flows of one service always differ.
 */
static __always_inline __u64 fingerprint(const struct packet *packet, __u64 secret)
{
	__u64 odd = secret | 1, other = __builtin_bswap64(secret) | 1;
	__u64 client = packet->source.word[0], service = packet->destination.word[0];

#ifdef WITH_IPV6
	if (packet->family == 6) {
		client = join_halves(&packet->source, odd, other);
		service = packet->destination.half[0] + packet->destination.half[1] * 3;
	}
#endif
	client += (__u64)packet->ports << 32;
	service += (__u64)packet->protocol << 32;
	return fold_and_multiply(client * odd + service * other, other);
}
#endif

#ifdef WITH_JHASH
static __always_inline __u32 rotate_left(__u32 word, int bits)
{
	return (word << bits) | (word >> (32 - bits));
}

/* Bob Jenkins' lookup3 over two words, as the kernel's jhash_2words(). */
static __always_inline __u32 jhash_2words(__u32 a, __u32 b, __u32 initval)
{
	__u32 c;

	initval += 0xdeadbeef + (2 << 2);
	a += initval;
	b += initval;
	c = initval;

	c ^= b;
	c -= rotate_left(b, 14);
	a ^= c;
	a -= rotate_left(c, 11);
	b ^= a;
	b -= rotate_left(a, 25);
	c ^= b;
	c -= rotate_left(b, 16);
	a ^= c;
	a -= rotate_left(c, 4);
	b ^= a;
	b -= rotate_left(a, 14);
	c ^= b;
	c -= rotate_left(b, 24);
	return c;
}
#endif
