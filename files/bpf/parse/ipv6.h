/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The IPv6 header, and those of extensions. */
#pragma once

#include "base/kernel.h"
#include "base/counters.h"
#include "base/verifier.h"
#include "parse/address.h"
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

/* The same for IPv6 (RFC 8200), extension headers included. */
static __always_inline int parse_ipv6(void *data, void *end, __u32 offset, struct packet *packet,
				      int quoted)
{
	__u16 is_fragment = quoted ? IP6_OFFSET_MASK : IP6_OFFSET_MASK | IP6_MORE_FRAGMENTS;
	struct ipv6hdr *ip = data + offset;
	__u8 next, *header;
	__u32 length;
	int i;

	if ((void *)(ip + 1) > end)
		return -1;
	copy_address(&packet->source, &ip->saddr);
	copy_address(&packet->destination, &ip->daddr);
	if (!quoted) {
		packet->tos = ntohl(FIRST_WORD(ip)) >> 20;
		length = ntohs(ip->payload_len) + sizeof(*ip);
		packet->length = length;
		if (length > end - (void *)ip || length > 0xffff)
			packet->defect = DROP_MALFORMED;
	}
	if (FIRST_BYTE(ip) >> 4 != 6)
		packet->defect = DROP_MALFORMED;
	next = ip->nexthdr;
	length = offset + sizeof(*ip);
	for (i = 0; i < IP6_CHAIN_LENGTH && is_extension_header(next); i++) {
		FORGET(length, FIRST_WORD(ip));
		if (length > IP_HEADERS_LENGTH) {
			packet->defect = DROP_MALFORMED;
			break;
		}
		header = data + length;
		if (header + 8 > (__u8 *)end) {
			packet->defect = DROP_MALFORMED;
			break;
		}
		if (!quoted && length + 8 > offset + packet->length)
			packet->defect = DROP_MALFORMED; /* what follows still tells the protocol */
		if (next == IPPROTO_FRAGMENT) {
			if (*(__be16 *)(header + 2) & htons(is_fragment))
				packet->fragment = 1;
			next = header[0];
			length += 8;
			if (packet->fragment)
				break; /* what follows may be no header, or lack its end */
		} else if (next == IPPROTO_AH) {
			next = header[0];
			length += (header[1] + 2) * 4;
		} else {
			if (next == IPPROTO_ROUTING &&
			    ((struct ipv6_rt_hdr *)header)->segments_left)
				packet->routed = 1;
			next = header[0];
			length += (header[1] + 1) * 8;
		}
	}
	if (is_extension_header(next) && !packet->fragment)
		packet->defect = DROP_MALFORMED;
	packet->protocol = next;
	FORGET(length, FIRST_WORD(ip));
	if (length > IP_HEADERS_LENGTH)
		packet->defect = DROP_MALFORMED;
	packet->l4 = length & IP_HEADERS_LENGTH;
	return 0;
}
#endif
