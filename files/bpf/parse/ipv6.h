/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The IPv6 header, and those of extensions. */
#pragma once

#include "base/kernel.h"
#include "base/counters.h"
#include "base/verifier.h"
#include "parse/address.h"
#include "parse/cursor.h"
#include "parse/packet.h"

#define IP6_OFFSET_MASK 0xfff8
#define IP6_MORE_FRAGMENTS 0x0001
#define IP6_CHAIN_LENGTH 8 /* extension headers that are skipped at the most */
#define IP_HEADERS_LENGTH 2047 /* and how far into a frame they may reach */

#ifdef WITH_IPV6
static __always_inline int is_extension_header(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_FRAGMENT || protocol == IPPROTO_AH ||
	       protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_MH;
}

/* Skips an extension header, of which eight bytes are there; what follows it. */
static __always_inline __u8 skip_extension(struct cursor *cursor, struct packet *packet,
					   const __u8 *header, __u8 kind, int quoted)
{
	__u16 is_fragment = quoted ? IP6_OFFSET_MASK : IP6_OFFSET_MASK | IP6_MORE_FRAGMENTS;

	if (kind == IPPROTO_FRAGMENT) {
		if (*(const __be16 *)(header + 2) & htons(is_fragment))
			packet->fragment = 1;
		cursor->offset += 8;
	} else if (kind == IPPROTO_AH) {
		cursor->offset += (header[1] + 2) * 4;
	} else {
		if (kind == IPPROTO_ROUTING && ((const struct ipv6_rt_hdr *)header)->segments_left)
			packet->routed = 1;
		cursor->offset += (header[1] + 1) * 8;
	}
	return header[0];
}

/* Skips all of them, from one of the kind `next` on; what follows them, as far as it shows. They end
 * before `end`, an offset, unless the packet is quoted.
 */
static __always_inline __u8 skip_extensions(struct cursor *cursor, struct packet *packet, __u8 next,
					    __u32 end, __u32 unknown, int quoted)
{
	const __u8 *header;
	int i;

	for (i = 0; i < IP6_CHAIN_LENGTH && is_extension_header(next); i++) {
		FORGET(cursor->offset, unknown);
		if (cursor->offset > IP_HEADERS_LENGTH) {
			packet->defect = DROP_MALFORMED;
			break;
		}
		header = next_header(cursor);
		if (!is_there(cursor, 8)) {
			packet->defect = DROP_MALFORMED;
			break;
		}
		if (!quoted && cursor->offset + 8 > end)
			packet->defect = DROP_MALFORMED; /* what follows still tells the protocol */
		next = skip_extension(cursor, packet, header, next, quoted);
		if (packet->fragment)
			break; /* what follows may be no header, or lack its end */
	}
	return next;
}

/* The same as for IPv4, for IPv6 (RFC 8200), extension headers included. */
static __always_inline int parse_ipv6(struct cursor *cursor, struct packet *packet, int quoted)
{
	const struct ipv6hdr *ip = next_header(cursor);
	__u32 start = cursor->offset, length;

	if (!is_there(cursor, sizeof(*ip)))
		return 0;
	copy_address(&packet->source, &ip->saddr);
	copy_address(&packet->destination, &ip->daddr);
	if (!quoted) {
		packet->tos = ntohl(FIRST_WORD(ip)) >> 20;
		length = ntohs(ip->payload_len) + sizeof(*ip);
		packet->length = length;
		if (length > cursor->data_end - (void *)ip || length > 0xffff)
			packet->defect = DROP_MALFORMED;
	}
	if (FIRST_BYTE(ip) >> 4 != 6)
		packet->defect = DROP_MALFORMED;
	cursor->offset += sizeof(*ip);
	packet->protocol = skip_extensions(cursor, packet, ip->nexthdr, start + packet->length,
					   FIRST_WORD(ip), quoted);
	if (is_extension_header(packet->protocol) && !packet->fragment)
		packet->defect = DROP_MALFORMED;
	FORGET(cursor->offset, FIRST_WORD(ip));
	if (cursor->offset > IP_HEADERS_LENGTH)
		packet->defect = DROP_MALFORMED;
	cursor->offset &= IP_HEADERS_LENGTH;
	packet->l4 = cursor->offset;
	return 1;
}
#endif
