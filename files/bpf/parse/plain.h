/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets as nearly all are. */
#pragma once

#include "base/kernel.h"
#include "base/ip.h"
#include "parse/address.h"
#include "parse/cursor.h"
#include "parse/packet.h"
#include "parse/ports.h"

#ifdef WITH_IPV4
/* Fills in an IPv4 header and skips it; 0: it has options, or is that of a fragment. */
static __always_inline int parse_plain_ipv4(struct cursor *cursor, struct packet *packet)
{
	const struct iphdr *ip = next_header(cursor);

	if (FIRST_BYTE(ip) != (IPVERSION << 4 | sizeof(*ip) / 4) ||
	    ip->frag_off & htons(IP_OFFSET_MASK | IP_MORE_FRAGMENTS))
		return 0;
	packet->family = 4;
	packet->protocol = ip->protocol;
	packet->tos = ip->tos;
	packet->length = ntohs(ip->tot_len);
	packet->source.word[0] = ip->saddr;
	packet->destination.word[0] = ip->daddr;
	cursor->offset += sizeof(*ip);
	return 1;
}
#endif

#ifdef WITH_IPV6
/* The same for IPv6. */
static __always_inline int parse_plain_ipv6(struct cursor *cursor, struct packet *packet)
{
	const struct ipv6hdr *ip = next_header(cursor);

	if (!is_there(cursor, sizeof(*ip) + sizeof(struct udphdr)) || FIRST_BYTE(ip) >> 4 != 6)
		return 0;
	packet->family = 6;
	packet->protocol = ip->nexthdr;
	packet->tos = ntohl(FIRST_WORD(ip)) >> 20;
	packet->length = ntohs(ip->payload_len) + sizeof(*ip);
	if (packet->length < sizeof(*ip))
		return 0;
	copy_address(&packet->source, &ip->saddr);
	copy_address(&packet->destination, &ip->daddr);
	cursor->offset += sizeof(*ip);
	return 1;
}
#endif

/* Fills in the ports; 0: it is neither TCP nor UDP, or not whole. */
static __always_inline int parse_plain_ports(const struct cursor *cursor, struct packet *packet)
{
	const void *transport = next_header(cursor);
	__u32 header = cursor->offset - sizeof(struct ethhdr), least;

	if (packet->protocol == IPPROTO_TCP)
		least = sizeof(struct tcphdr);
	else if (packet->protocol == IPPROTO_UDP)
		least = sizeof(struct udphdr);
	else
		return 0;
	if (packet->length < header + least ||
	    packet->length > cursor->data_end - (cursor->data + sizeof(struct ethhdr)))
		return 0;
	packet->ports = *(const __u32 *)transport;
#ifdef WITH_FLOW_TABLE
	if (least == sizeof(struct tcphdr) && is_there(cursor, sizeof(struct tcphdr)))
		packet->tcp_flags = tcp_flags_of(transport);
#endif
	return 1;
}

/* Fills `packet` if the frame is as nearly all are: untagged, IP without options or extension
 * headers, a whole TCP or UDP packet. Constant offsets make this several times as fast as
 * parse_headers(), to which everything else is left. 0: that one must look.
 */
static __always_inline int parse_plain(struct xdp_md *ctx, struct packet *packet)
{
	struct cursor cursor = cursor_at(ctx, 0);
	const struct ethhdr *eth = next_header(&cursor);

	if (!is_there(&cursor, sizeof(*eth) + sizeof(struct iphdr) + sizeof(struct udphdr)))
		return 0;
	packet->ethertype_at = offsetof(struct ethhdr, h_proto);
	cursor.offset = sizeof(*eth);
#ifdef WITH_IPV4
	if (eth->h_proto == htons(ETH_P_IP))
		return parse_plain_ipv4(&cursor, packet) && parse_plain_ports(&cursor, packet);
#endif
#ifdef WITH_IPV6
	if (eth->h_proto == htons(ETH_P_IPV6))
		return parse_plain_ipv6(&cursor, packet) && parse_plain_ports(&cursor, packet);
#endif
	return 0;
}
