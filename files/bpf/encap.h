/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encapsulation: the outer header that carries a packet to its backend. */
#pragma once

#define OUTER_TTL 64

/* IP in IP (RFC 2003):
 *
 *   before   | Ethernet | IP client -> service | ...
 *   after    | Ethernet | IP balancer -> backend | IP client -> service | ...
 *
 * The outer header has DF set and so needs no id (RFC 6864). Its tos is the inner one: the DSCP is
 * copied, and the ECN field too, as RFC 6040 section 4.1 has it for the normal mode.
 */
static __always_inline int encapsulate(struct xdp_md *ctx, struct packet *packet,
				       struct backend *backend, struct nexthop *nexthop)
{
	struct ethhdr *eth;
	struct iphdr *ip;
	void *end;

	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip)))
		return drop(DROP_NO_HEADROOM);
	/* the frame has moved: read its limits again */
	eth = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > end)
		return drop(DROP_NO_HEADROOM);

	__builtin_memcpy(eth->h_dest, nexthop->destination, ETH_ALEN);
	__builtin_memcpy(eth->h_source, nexthop->source, ETH_ALEN);
	eth->h_proto = htons(ETH_P_IP);

	IP_VERSION_AND_LENGTH(ip) = IPVERSION << 4 | sizeof(*ip) / 4;
	ip->tos = packet->tos;
	ip->tot_len = htons(packet->length + sizeof(*ip));
	ip->id = 0;
	ip->frag_off = htons(0x4000); /* don't fragment */
	ip->ttl = OUTER_TTL;
	ip->protocol = IPPROTO_IPIP;
	ip->saddr = backend->source[0];
	ip->daddr = backend->destination[0];
	ip->check = checksum_of_sum(backend->sum + htons(packet->tos) + ip->tot_len);
	return GO_ON;
}
