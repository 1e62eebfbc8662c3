/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets to a service's address that no service takes. They are the host's own, unless it would
 * forward them: to where they come from, and they would be back at once, until their TTL ends.
 */
#pragma once

#include "base/kernel.h"
#include "base/counters.h"
#include "base/ip.h"
#include "base/verdict.h"
#include "parse/address.h"
#include "parse/icmp.h"
#include "parse/packet.h"
#include "choose/service.h"
#include "receive/own.h"

#define IP6_FLOWINFO_MASK 0x0fffffff
#define ND_FIRST 133 /* router solicitation (RFC 4861) */
#define ND_LAST 137 /* redirect */

/* Neighbour and router discovery, which is between hosts of a link. */
static __always_inline int is_discovery(struct xdp_md *ctx, const struct packet *packet)
{
	__u8 *icmp = (void *)(long)ctx->data + packet->l4;

	return packet->family == 6 && is_icmp(ctx, packet) && *icmp >= ND_FIRST && *icmp <= ND_LAST;
}

/* The interface that routing takes the packet to have come in by; 0: there is none for it. */
static __always_inline __u32 receiver_of(struct xdp_md *ctx, const struct service_table *table,
					 const struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	__u32 place;

	if (data + sizeof(struct ethhdr) > (void *)(long)ctx->data_end)
		return 0;
	place = place_of(table, mac_at(data));
	if (place && table->receivers[VLANS + place])
		return table->receivers[VLANS + place];
	return vlan_receiver(ctx, table, packet);
}

/* What routing says to the packet as it came. */
static __always_inline long route_received(struct xdp_md *ctx, const struct service_table *table,
					   const struct packet *packet, __u32 receiver)
{
	void *network = (void *)(long)ctx->data + network_offset(packet);
	void *end = (void *)(long)ctx->data_end;
	struct bpf_fib_lookup fib = { .ifindex = receiver };

	/* an error has those of the packet that it quotes, see answer/quote.h */
	if (!packet->quotes) {
		fib.l4_protocol = packet->protocol;
		fib.sport = ((__be16 *)&packet->ports)[0];
		fib.dport = ((__be16 *)&packet->ports)[1];
	}
	if (packet->family == 6) {
		struct ipv6hdr *ip = network;

		if ((void *)(ip + 1) > end)
			return BPF_FIB_LKUP_RET_NOT_FWDED;
		fib.family = AF_INET6;
		fib.flowinfo = FIRST_WORD(ip) & htonl(IP6_FLOWINFO_MASK);
		__builtin_memcpy(fib.ipv6_src, &ip->saddr, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, &ip->daddr, sizeof(fib.ipv6_dst));
	} else {
		struct iphdr *ip = network;

		if ((void *)(ip + 1) > end)
			return BPF_FIB_LKUP_RET_NOT_FWDED;
		fib.family = AF_INET;
		fib.tos = ip->tos;
		fib.ipv4_src = ip->saddr;
		fib.ipv4_dst = ip->daddr;
	}
	return bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
}

/* Whether routing's answer means that the host would send the packet on. Otherwise it takes it,
 * discards it, or answers it itself.
 */
static __always_inline int is_forwarded(long result)
{
	return result == BPF_FIB_LKUP_RET_SUCCESS || result == BPF_FIB_LKUP_RET_NO_NEIGH ||
	       result == BPF_FIB_LKUP_RET_UNSUPP_LWT;
}

static __always_inline verdict_t judge_stray(struct xdp_md *ctx, const struct service_table *table,
					     const struct packet *packet)
{
	__u32 receiver;

	if (!(table->flags & TABLE_DROPS_NO_SERVICE) || is_discovery(ctx, packet))
		return XDP_PASS;
	receiver = receiver_of(ctx, table, packet);
	if (!receiver || !is_forwarded(route_received(ctx, table, packet, receiver)))
		return XDP_PASS;
	return drop(DROP_NO_SERVICE);
}
