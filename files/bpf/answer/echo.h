/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Answers to pings. */
#pragma once

#include "base/kernel.h"
#include "base/checksum.h"
#include "base/counters.h"
#include "base/ip.h"
#include "base/verdict.h"
#include "parse/address.h"
#include "parse/icmp.h"
#include "parse/packet.h"

static __always_inline void swap_macs(void *eth)
{
	__u16 mac[ETH_ALEN / 2];

	copy_mac(mac, eth);
	copy_mac(eth, eth + ETH_ALEN);
	copy_mac(eth + ETH_ALEN, mac);
}

/* Answers a ping of a service's address in place: addresses change sides, so the sums stay right
 * but for the type. Of the two zeros of such a checksum receivers take 0xffff always, and 0 only
 * where some word of the message is not zero (RFC 1624, section 3).
 */
static __always_inline verdict_t answer_echo(struct xdp_md *ctx, struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	void *network = data + network_offset(packet);
	__u8 *icmp = data + packet->l4;
	__u16 *check = (void *)icmp + offsetof(struct icmphdr, checksum);
	__u8 type;

	if (packet->family == 6) {
		struct ipv6hdr *ip = network;

		if ((void *)(ip + 1) > end)
			return drop(DROP_MALFORMED);
		copy_address(&ip->saddr, &packet->destination);
		copy_address(&ip->daddr, &packet->source);
		ip->hop_limit = OUTER_TTL;
		type = ICMPV6_ECHO_REPLY;
	} else {
		struct iphdr *ip = network;

		if ((void *)(ip + 1) > end)
			return drop(DROP_MALFORMED);
		ip->saddr = packet->destination.word[0];
		ip->daddr = packet->source.word[0];
		ip->check = checksum_after(ip->check, htons(ip->ttl << 8), htons(OUTER_TTL << 8));
		ip->ttl = OUTER_TTL;
		type = ICMP_ECHOREPLY;
	}
	if ((void *)icmp + ICMP_HEADER > end)
		return drop(DROP_MALFORMED);
	*check = checksum_after(*check, htons(*icmp << 8), htons(type << 8));
	if (!*check)
		*check = 0xffff;
	*icmp = type;
	if (data + 2 * ETH_ALEN > end)
		return drop(DROP_MALFORMED);
	swap_macs(data);
	return answered(ANSWER_ECHO_REPLY);
}
