/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The IPv4 header. */
#pragma once

#include "base/kernel.h"
#include "base/counters.h"
#include "base/ip.h"
#include "parse/address.h"
#include "parse/cursor.h"
#include "parse/packet.h"

/* Fills in the IPv4 header and skips it; 0: nothing that could be to a service. Of a `quoted` packet
 * only the head is there, so its length means nothing; but a first fragment is as good as a whole
 * packet, for it has the ports.
 */
static __always_inline int parse_ipv4(struct cursor *cursor, struct packet *packet, int quoted)
{
	const struct iphdr *ip = next_header(cursor);
	__u16 is_fragment = quoted ? IP_OFFSET_MASK : IP_OFFSET_MASK | IP_MORE_FRAGMENTS;
	__u32 header;

	if (!is_there(cursor, sizeof(*ip)))
		return 0;
	packet->protocol = ip->protocol;
	packet->source.word[0] = ip->saddr;
	packet->destination.word[0] = ip->daddr;
	header = (FIRST_BYTE(ip) & 0xf) * 4;
	packet->l4 = cursor->offset + header;
	if (!quoted) {
		packet->tos = ip->tos;
		packet->length = ntohs(ip->tot_len);
		if (packet->length > cursor->data_end - (void *)ip)
			packet->defect = DROP_MALFORMED;
	}
	if (FIRST_BYTE(ip) >> 4 != IPVERSION || header < sizeof(*ip) || !is_there(cursor, header))
		packet->defect = DROP_MALFORMED;
	packet->fragment = !!(ip->frag_off & htons(is_fragment));
	cursor->offset = packet->l4;
	return 1;
}
