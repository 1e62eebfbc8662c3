/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Neighbours that the kernel does not know yet. */
#pragma once

#include "base/kernel.h"
#include "base/checksum.h"
#include "base/verdict.h"
#include "parse/icmp.h"
#include "parse/packet.h"
#include "choose/record.h"
#include "send/icmp.h"

/* Has the kernel find the MAC address of a next hop, which a program cannot ask it to. The packet,
 * which is lost anyway, becomes a ping from the backend to the source of its tunnel, which is an
 * address of the host; to answer it from there the kernel must resolve the way that packets take.
 */
static __always_inline verdict_t have_resolved(struct xdp_md *ctx, struct packet *packet,
					       struct backend *backend)
{
	int ipv6 = backend->flags & BACKEND_IPV6;
	__u32 header = ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	__u32 length = header + ICMP_HEADER;
	struct icmphdr *icmp;
	void *data, *end, *network;
	__be16 *type;
	__u32 sum;

	if (!backend->source.word[0])
		return XDP_DROP; /* the host has no address, as nothing is encapsulated */
	if (bpf_xdp_adjust_tail(ctx,
				(int)(network_offset(packet) + length) - (int)frame_length(ctx)))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	type = data + packet->ethertype_at;
	network = type + 1;
	icmp = network + header;
	if (network + header + ICMP_HEADER > end)
		return XDP_DROP;
	icmp->code = 0;
	icmp->checksum = 0;
	icmp->un.echo.id = 0;
	icmp->un.echo.sequence = 0;
	if (ipv6) {
		if (network + sizeof(struct ipv6hdr) > end)
			return XDP_DROP;
		*type = htons(ETH_P_IPV6);
		write_own_ipv6(network, &backend->destination, &backend->source, length);
		icmp->type = ICMPV6_ECHO_REQUEST;
		sum = sum_of_address(&backend->destination) + sum_of_address(&backend->source) +
		      htons(ICMPV6_HEADER) + htons(IPPROTO_ICMPV6) +
		      htons(ICMPV6_ECHO_REQUEST << 8);
	} else {
		if (network + sizeof(struct iphdr) > end)
			return XDP_DROP;
		*type = htons(ETH_P_IP);
		write_own_ipv4(network, backend->destination.word[0], backend->source.word[0],
			       length);
		icmp->type = ICMP_ECHO;
		sum = htons(ICMP_ECHO << 8);
	}
	icmp->checksum = checksum_of_sum(sum);
	return XDP_PASS;
}
