/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Source addresses that no host has (RFC 1122 section 3.2.1.3, RFC 4291 section 2): who sends from
 * one forges it.
 */
#pragma once

#include "base/kernel.h"
#include "parse/address.h"
#include "parse/packet.h"
#include "choose/service.h"

/* The first byte of an address. 0 is "this network", what is reserved may yet become anything. */
#define LOOPBACK 127
#define MULTICAST 224
#define RESERVED 240
#define MULTICAST6 0xff

#define BROADCAST 0xffffffff
#define MAPPED 0xffff /* of an IPv4 address that only sockets know: ::ffff:0:0/96 */

static __always_inline int is_bad_ipv4_source(__be32 source)
{
	__u64 first = FIRST_BYTE(&source);

	/* one comparison tells that it is not 0 either: 64 bits compare in fewest steps */
	if (first - 1 < MULTICAST - 1)
		return first == LOOPBACK;
	return first < RESERVED || source == BROADCAST;
}

#ifdef WITH_IPV6
static __always_inline int is_bad_ipv6_source(const struct address *source)
{
	if (source->half[0])
		return FIRST_BYTE(source) == MULTICAST6;
	return source->word[2] == htonl(MAPPED) ||
	       (!source->word[2] && ntohl(source->word[3]) <= 1);
}
#endif

static __always_inline int is_bad_source(const struct packet *packet)
{
	if (!difference(packet, &packet->source, &packet->destination))
		return 1;
#ifdef WITH_IPV6
	if (packet->family == 6)
		return is_bad_ipv6_source(&packet->source);
#endif
	return is_bad_ipv4_source(packet->source.word[0]);
}
