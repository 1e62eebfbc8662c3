/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hashes of a flow. schedulers.py has the same functions.
 *
 * Words of a packet are read as they are in memory, so machines of both byte orders balance alike
 * among themselves only.
 */
#pragma once

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

/* Of one end of a flow and its ports (0 if they shall not count). For IPv4 it is a bijection; for
 * IPv6 the two halves of the address go in one after the other, the ports along with the second.
 */
static __always_inline __u64 hash_flow(const struct packet *packet, const struct address *address,
				       __u32 ports, __u64 seed)
{
	__u64 key = seed * GOLDEN_64;

#ifdef WITH_IPV6
#ifdef WITH_IPV4
	if (packet->family == 6)
#endif
	{
		return mix64(mix64(address->half[0] ^ key) ^ address->half[1] ^ ports * GOLDEN_64);
	}
#endif
	return mix64(((__u64)ports << 32 | address->word[0]) ^ key);
}

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
