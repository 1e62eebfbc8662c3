/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The outer headers that carry a packet to its backend, from the record of that. */
#pragma once

#include "base/kernel.h"
#include "base/checksum.h"
#include "base/ip.h"
#include "parse/address.h"
#include "choose/record.h"

#define GUE_FIRST_PORT 0xc000 /* the upper quarter of all ports is for such (RFC 6335) */
#define FLOW_LABEL_MASK 0xfffff

struct gre_header {
	__be16 flags;
	__be16 protocol;
};

static __always_inline void write_ipv4(struct iphdr *ip, __u8 tos, const struct backend *backend,
				       __u32 length, __u64 flow)
{
	__be32 varying = 0;
	__u32 sum;

#ifdef WITH_SPREAD
	varying = (__u32)flow & backend->spread;
#endif
	FIRST_BYTE(ip) = IPVERSION << 4 | sizeof(*ip) / 4;
	ip->tos = tos;
	ip->tot_len = htons(length);
	ip->id = 0;
	ip->frag_off = htons(IP_DONT_FRAGMENT);
	ip->ttl = OUTER_TTL;
	ip->protocol = backend->protocol;
	ip->saddr = backend->source.word[0] | varying;
	ip->daddr = backend->destination.word[0];
	sum = backend->sum + htons(tos) + ip->tot_len;
	sum += (varying & 0xffff) + (varying >> 16);
	ip->check = checksum_of_sum(sum);
}

/* The flow label spreads flows over equal paths (RFC 6438). */
static __always_inline void write_ipv6(struct ipv6hdr *ip, __u8 tos, const struct backend *backend,
				       __u32 length, __u64 flow)
{
	FIRST_WORD(ip) = htonl(6 << 28 | tos << 20 | ((__u32)flow & FLOW_LABEL_MASK));
	ip->payload_len = htons(length - sizeof(*ip));
	ip->nexthdr = backend->protocol;
	ip->hop_limit = OUTER_TTL;
	copy_address(&ip->saddr, &backend->source);
	copy_address(&ip->daddr, &backend->destination);
#ifdef WITH_SPREAD
	((__be32 *)&ip->saddr)[3] |= (__u32)flow & backend->spread;
#endif
}

/* What is between the outer IP header and the packet, which is of this family. */
static __always_inline void write_shim(void *shim, __u8 family, const struct backend *backend,
				       __u32 length, __u64 flow)
{
#ifdef WITH_GUE
	if (backend->flags & BACKEND_GUE) {
		struct udphdr *udp = shim;

		udp->source = htons(GUE_FIRST_PORT | (flow >> 16 & 0x3fff));
		udp->dest = backend->port;
		udp->len = htons(length);
		udp->check = 0; /* RFC 6935 allows it over IPv6 too */
	}
#endif
#ifdef WITH_GRE
	if (backend->flags & BACKEND_GRE) {
		struct gre_header *gre = shim;

		gre->flags = 0;
		gre->protocol = family == 6 ? htons(ETH_P_IPV6) : htons(ETH_P_IP);
	}
#endif
}
