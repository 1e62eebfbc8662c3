/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets as nearly all are. */
#pragma once

#include "base/kernel.h"
#include "parse/address.h"
#include "parse/ipv4.h"
#include "parse/packet.h"
#include "parse/ports.h"

/* Fills `packet` if the frame is as nearly all are: untagged, IP without options or extension
 * headers, a whole TCP or UDP packet. Constant offsets make this several times as fast as parse(),
 * to which everything else is left. 0: that one must look.
 */
static __always_inline int parse_plain(struct xdp_md *ctx, struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__be16 *type = data + offsetof(struct ethhdr, h_proto);
	void *network = type + 1;
	__u32 header, least;
	void *transport;

	if (data + sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct udphdr) > end)
		return 0;
	packet->ethertype_at = offsetof(struct ethhdr, h_proto);
#ifdef WITH_IPV4
	if (*type == htons(ETH_P_IP)) {
		struct iphdr *ip = network;

		if (FIRST_BYTE(ip) != (IPVERSION << 4 | sizeof(*ip) / 4) ||
		    ip->frag_off & htons(IP_OFFSET_MASK | IP_MORE_FRAGMENTS))
			return 0;
		packet->family = 4;
		packet->protocol = ip->protocol;
		packet->tos = ip->tos;
		packet->length = ntohs(ip->tot_len);
		packet->source.word[0] = ip->saddr;
		packet->destination.word[0] = ip->daddr;
		header = sizeof(*ip);
		goto found;
	}
#endif
#ifdef WITH_IPV6
	if (*type == htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = network;

		if ((void *)(ip + 1) + sizeof(struct udphdr) > end || FIRST_BYTE(ip) >> 4 != 6)
			return 0;
		packet->family = 6;
		packet->protocol = ip->nexthdr;
		packet->tos = ntohl(FIRST_WORD(ip)) >> 20;
		packet->length = ntohs(ip->payload_len) + sizeof(*ip);
		if (packet->length < sizeof(*ip))
			return 0;
		copy_address(&packet->source, &ip->saddr);
		copy_address(&packet->destination, &ip->daddr);
		header = sizeof(*ip);
		goto found;
	}
#endif
	return 0;

found:
	transport = network + header;
	if (packet->protocol == IPPROTO_TCP)
		least = sizeof(struct tcphdr);
	else if (packet->protocol == IPPROTO_UDP)
		least = sizeof(struct udphdr);
	else
		return 0;
	if (packet->length < header + least || packet->length > end - network)
		return 0;
	packet->ports = *(__u32 *)transport;
#ifdef WITH_FLOW_TABLE
	if (least == sizeof(struct tcphdr) && transport + sizeof(struct tcphdr) <= end)
		packet->tcp_flags = tcp_flags_of(transport);
#endif
	return 1;
}
