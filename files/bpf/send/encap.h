/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encapsulation: how outer headers come before a packet.
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
#include "base/counters.h"
#include "base/verdict.h"
#include "parse/address.h"
#include "parse/packet.h"
#include "choose/record.h"
#include "send/outer.h"
#include "send/room.h"

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
		write_ipv6(ip, packet->tos, backend, length, flow);
		write_shim(ip + 1, packet->family, backend, length - sizeof(*ip), flow);
	} else {
		struct iphdr *ip = type + sizeof(__be16);

		if ((void *)(ip + 1) + sizeof(struct udphdr) > end)
			return drop(DROP_NO_ROOM);
		*(__be16 *)type = htons(ETH_P_IP);
		write_ipv4(ip, packet->tos, backend, length, flow);
		write_shim(ip + 1, packet->family, backend, length - sizeof(*ip), flow);
	}
	return GO_ON;
}
