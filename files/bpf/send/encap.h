/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encapsulation: the outer headers that carry a packet to its backend.
 *
 *   before   | Ethernet, VLAN tags | IP client -> service | ...
 *   ipip     | Ethernet, VLAN tags | IP balancer -> backend | IP client -> service | ...
 *   gue      | Ethernet, VLAN tags | IP balancer -> backend | UDP | IP client -> service | ...
 *   gre      | Ethernet, VLAN tags | IP balancer -> backend | GRE | IP client -> service | ...
 *   l2       | Ethernet to backend, VLAN tags | IP client -> service | ...
 *
 * RFC 2003, 2473, 4213 (IP in IP, either family in either), draft-ietf-intarea-gue (variant 1: the
 * IP packet follows UDP at once), RFC 2784 (GRE). The outer IPv4 header has DF set and so needs no
 * id (RFC 6864). DSCP and ECN are copied, as RFC 6040 section 4.1 has it for the normal mode.
 */
#pragma once

#include "base/kernel.h"
#include "base/checksum.h"
#include "base/counters.h"
#include "base/verdict.h"
#include "parse/address.h"
#include "parse/ipv4.h"
#include "parse/packet.h"
#include "choose/backend.h"
#include "send/room.h"
#include "send/ttl.h"

#define GUE_FIRST_PORT 0xc000 /* the upper quarter of all ports is for such (RFC 6335) */
#define FLOW_LABEL_MASK 0xfffff

struct gre_header {
	__be16 flags;
	__be16 protocol;
};

static __always_inline void write_ipv4(struct iphdr *ip, const struct packet *packet,
				       const struct backend *backend, __u32 length, __u64 flow)
{
	__be32 varying = 0;
	__u32 sum;

#ifdef WITH_SPREAD
	varying = (__u32)flow & backend->spread;
#endif
	FIRST_BYTE(ip) = IPVERSION << 4 | sizeof(*ip) / 4;
	ip->tos = packet->tos;
	ip->tot_len = htons(length);
	ip->id = 0;
	ip->frag_off = htons(IP_DONT_FRAGMENT);
	ip->ttl = OUTER_TTL;
	ip->protocol = backend->protocol;
	ip->saddr = backend->source.word[0] | varying;
	ip->daddr = backend->destination.word[0];
	sum = backend->sum + htons(packet->tos) + ip->tot_len;
	sum += (varying & 0xffff) + (varying >> 16);
	ip->check = checksum_of_sum(sum);
}

/* The flow label spreads flows over equal paths (RFC 6438). */
static __always_inline void write_ipv6(struct ipv6hdr *ip, const struct packet *packet,
				       const struct backend *backend, __u32 length, __u64 flow)
{
	FIRST_WORD(ip) = htonl(6 << 28 | packet->tos << 20 | ((__u32)flow & FLOW_LABEL_MASK));
	ip->payload_len = htons(length - sizeof(*ip));
	ip->nexthdr = backend->protocol;
	ip->hop_limit = OUTER_TTL;
	copy_address(&ip->saddr, &backend->source);
	copy_address(&ip->daddr, &backend->destination);
#ifdef WITH_SPREAD
	((__be32 *)&ip->saddr)[3] |= (__u32)flow & backend->spread;
#endif
}

/* What is between the outer IP header and the packet. */
static __always_inline void write_shim(void *shim, const struct packet *packet,
				       const struct backend *backend, __u32 length, __u64 flow)
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
		gre->protocol = packet->family == 6 ? htons(ETH_P_IPV6) : htons(ETH_P_IP);
	}
#endif
}

static __always_inline verdict_t encapsulate(struct xdp_md *ctx, const struct packet *packet,
					     const struct backend *backend,
					     const struct nexthop *nexthop, __u64 flow)
{
	__u32 overhead = backend->overhead, length = packet->length + overhead;
	void *data, *end, *type;

	if (overhead && make_room(ctx, packet, overhead) != GO_ON)
		return XDP_DROP;
	/* the frame has moved: read its limits again */
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(struct ethhdr) > end)
		return drop(DROP_NO_ROOM);
	copy_mac(data, nexthop->destination);
	copy_mac(data + ETH_ALEN, nexthop->source);
	if (!overhead)
		return GO_ON;
	/* Even the shortest packet that is left behind the headers would do for the shim. */
	type = data + packet->ethertype_at;
	if (backend->flags & BACKEND_IPV6) {
		struct ipv6hdr *ip = type + sizeof(__be16);

		if ((void *)(ip + 1) + sizeof(struct udphdr) > end)
			return drop(DROP_NO_ROOM);
		*(__be16 *)type = htons(ETH_P_IPV6);
		write_ipv6(ip, packet, backend, length, flow);
		write_shim(ip + 1, packet, backend, length - sizeof(*ip), flow);
	} else {
		struct iphdr *ip = type + sizeof(__be16);

		if ((void *)(ip + 1) + sizeof(struct udphdr) > end)
			return drop(DROP_NO_ROOM);
		*(__be16 *)type = htons(ETH_P_IP);
		write_ipv4(ip, packet, backend, length, flow);
		write_shim(ip + 1, packet, backend, length - sizeof(*ip), flow);
	}
	return GO_ON;
}
