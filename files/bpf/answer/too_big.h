/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The balancer's own errors: packet too big. */
#pragma once

#include "base/kernel.h"
#include "base/checksum.h"
#include "base/counters.h"
#include "base/ip.h"
#include "base/verdict.h"
#include "parse/address.h"
#include "parse/icmp.h"
#include "parse/packet.h"
#include "choose/service.h"
#include "send/icmp.h"
#include "send/room.h"
#include "answer/limit.h"

#define QUOTE 256 /* bytes of a packet that an error quotes */
#define LEAST_MTU_4 576 /* what every IPv4 host takes (RFC 791) */
#define LEAST_MTU_6 1280 /* and every IPv6 link (RFC 8200) */

/* Whether routers, and so the balancer, may not fragment a packet: DF, or IPv6. */
static __always_inline int is_whole(struct xdp_md *ctx, const struct packet *packet)
{
	struct iphdr *ip = (void *)(long)ctx->data + network_offset(packet);

	if (packet->family == 6)
		return 1;
	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return 0;
	return !!(ip->frag_off & htons(IP_DONT_FRAGMENT));
}

/* Writes the error in front of the quote, from the EtherType on; 0: there is not that much room. */
static __always_inline int write_too_big_ipv4(__be16 *type, void *end, const struct packet *packet,
					      __u32 mtu)
{
	void *network = type + 1;
	struct icmphdr *icmp = network + sizeof(struct iphdr);

	if ((void *)icmp + ICMP_HEADER + QUOTE > end)
		return 0;
	*type = htons(ETH_P_IP);
	write_own_ipv4(network, packet->destination.word[0], packet->source.word[0],
		       sizeof(struct iphdr) + ICMP_HEADER + QUOTE);
	icmp->type = ICMP_DEST_UNREACH;
	icmp->code = ICMP_FRAG_NEEDED;
	icmp->checksum = 0;
	icmp->un.frag.__unused = 0;
	icmp->un.frag.mtu = htons(mtu);
	icmp->checksum =
		checksum_of_sum(bpf_csum_diff(NULL, 0, (void *)icmp, ICMP_HEADER + QUOTE, 0));
	return 1;
}

/* The same for IPv6. */
static __always_inline int write_too_big_ipv6(__be16 *type, void *end, const struct packet *packet,
					      __u32 mtu)
{
	void *network = type + 1;
	struct icmp6hdr *icmp = network + sizeof(struct ipv6hdr);
	__u32 sum;

	if ((void *)icmp + ICMPV6_HEADER + QUOTE > end)
		return 0;
	*type = htons(ETH_P_IPV6);
	write_own_ipv6(network, &packet->destination, &packet->source,
		       sizeof(struct ipv6hdr) + ICMPV6_HEADER + QUOTE);
	icmp->icmp6_type = ICMPV6_PKT_TOOBIG;
	icmp->icmp6_code = 0;
	icmp->icmp6_cksum = 0;
	icmp->icmp6_mtu = htonl(mtu);
	sum = sum_of_address(&packet->source) + sum_of_address(&packet->destination) +
	      htons(ICMPV6_HEADER + QUOTE) + htons(IPPROTO_ICMPV6);
	sum = bpf_csum_diff(NULL, 0, (void *)icmp, ICMPV6_HEADER + QUOTE, sum);
	icmp->icmp6_cksum = checksum_of_sum(sum);
	return 1;
}

/* Tells the client that at most `mtu` bytes fit. Less than what every host may send is told to
 * nobody: IPv6 hosts would not believe it, and for the others it is not worth it.
 */
static __always_inline verdict_t answer_too_big(struct xdp_md *ctx,
						const struct service_table *table,
						struct packet *packet, __u32 mtu)
{
	int ipv6 = packet->family == 6;
	__s32 least = ipv6 ? LEAST_MTU_6 : LEAST_MTU_4;
	__u32 added = (ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + ICMP_HEADER;
	void *data, *end;
	__be16 *type;
	verdict_t verdict;
	int written;

	if (!is_whole(ctx, packet) || packet->quotes || (__s32)mtu < least)
		return drop(DROP_TOO_BIG);
	verdict = may_answer(ctx, packet, ANSWER_PACKET_TOO_BIG, table->too_big_rate);
	if (verdict != GO_ON)
		return verdict;
	if (bpf_xdp_adjust_tail(ctx,
				(int)(network_offset(packet) + QUOTE) - (int)frame_length(ctx)))
		return drop(DROP_NO_ROOM);
	if (make_room(ctx, packet, added) != GO_ON)
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	type = data + packet->ethertype_at;
	if (data + added + sizeof(struct ethhdr) > end)
		return drop(DROP_NO_ROOM);
	copy_mac(data, data + added + ETH_ALEN);
	copy_mac(data + ETH_ALEN, data + added);
	written = ipv6 ? write_too_big_ipv6(type, end, packet, mtu)
		       : write_too_big_ipv4(type, end, packet, mtu);
	return written ? answered(ANSWER_PACKET_TOO_BIG) : drop(DROP_NO_ROOM);
}
