/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Headers of ICMP messages that the balancer itself sends. */
#pragma once

#include "base/kernel.h"
#include "base/checksum.h"
#include "base/ip.h"
#include "parse/address.h"

static __always_inline __u32 sum_of_address(const struct address *address)
{
	__u32 sum = 0;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++)
		sum += (address->word[i] & 0xffff) + (address->word[i] >> 16);
	return sum;
}

/* A header for what the balancer itself sends, `length` bytes of packet in all. */
static __always_inline void write_own_ipv4(struct iphdr *ip, __be32 source, __be32 destination,
					   __u32 length)
{
	__u16 *word = (__u16 *)ip;
	__u32 sum = 0;
	int i;

	FIRST_BYTE(ip) = IPVERSION << 4 | sizeof(*ip) / 4;
	ip->tos = 0;
	ip->tot_len = htons(length);
	ip->id = 0;
	ip->frag_off = htons(IP_DONT_FRAGMENT);
	ip->ttl = OUTER_TTL;
	ip->protocol = IPPROTO_ICMP;
	ip->check = 0;
	ip->saddr = source;
	ip->daddr = destination;
#pragma unroll
	for (i = 0; i < sizeof(*ip) / sizeof(*word); i++)
		sum += word[i];
	ip->check = checksum_of_sum(sum);
}

static __always_inline void write_own_ipv6(struct ipv6hdr *ip, const struct address *source,
					   const struct address *destination, __u32 length)
{
	FIRST_WORD(ip) = htonl(6 << 28);
	ip->payload_len = htons(length - sizeof(*ip));
	ip->nexthdr = IPPROTO_ICMPV6;
	ip->hop_limit = OUTER_TTL;
	copy_address(&ip->saddr, source);
	copy_address(&ip->daddr, destination);
}
