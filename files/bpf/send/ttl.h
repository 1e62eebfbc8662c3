/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The time to live, which IPv6 calls hop limit. The balancer is a hop to what it sends on, as every
 * router is (RFC 791, RFC 8200; RFC 2003 section 3.1 and RFC 2473 section 3.1 where that enters a
 * tunnel): so packets that balancers send in a circle come to an end.
 */
#pragma once

#include "base/kernel.h"
#include "base/checksum.h"
#include "parse/packet.h"

/* Whether a packet may not be sent on: this was its last hop. */
static __always_inline int is_expired(struct xdp_md *ctx, const struct packet *packet)
{
	void *network = (void *)(long)ctx->data + network_offset(packet);

	if (network + sizeof(struct iphdr) > (void *)(long)ctx->data_end)
		return 1;
#ifdef WITH_IPV6
	if (packet->family == 6)
		return ((struct ipv6hdr *)network)->hop_limit <= 1;
#endif
	return ((struct iphdr *)network)->ttl <= 1;
}

/* Takes a hop off. A wrong checksum of the header stays wrong. */
static __always_inline void take_hop(struct xdp_md *ctx, const struct packet *packet)
{
	void *network = (void *)(long)ctx->data + network_offset(packet);
	struct iphdr *ip = network;

	if (network + sizeof(struct iphdr) > (void *)(long)ctx->data_end)
		return;
#ifdef WITH_IPV6
	if (packet->family == 6) {
		((struct ipv6hdr *)network)->hop_limit -= 1;
		return;
	}
#endif
	ip->ttl -= 1;
	ip->check = checksum_of_less(ip->check, htons(1 << 8));
}
