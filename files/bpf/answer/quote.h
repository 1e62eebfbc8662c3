/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ICMP messages to a service (RFC 792, RFC 4443): pings, and errors that quote its flows. */
#pragma once

#include "base/kernel.h"
#include "base/counters.h"
#include "base/verdict.h"
#include "base/verifier.h"
#include "parse/cursor.h"
#include "parse/icmp.h"
#include "parse/ipv4.h"
#include "parse/ipv6.h"
#include "parse/packet.h"
#include "parse/ports.h"
#include "choose/service.h"
#include "choose/source.h"
#include "answer/echo.h"
#include "answer/limit.h"

static __always_inline int is_error(const struct packet *packet, __u8 type)
{
	if (packet->family == 6)
		return type >= ICMPV6_DEST_UNREACH && type <= ICMPV6_PARAMPROB;
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETERPROB;
}

/* Fills in a quoted packet but for its length; 0: it is none that could be of a service. */
static __always_inline int parse_quoted(struct cursor *cursor, __u8 family, struct packet *quoted)
{
	int found = 0;

#ifdef WITH_IPV4
	if (family == 4)
		found = parse_ipv4(cursor, quoted, 1);
#endif
#ifdef WITH_IPV6
	if (family == 6)
		found = parse_ipv6(cursor, quoted, 1);
#endif
	if (!found || quoted->fragment ||
	    (quoted->protocol != IPPROTO_TCP && quoted->protocol != IPPROTO_UDP))
		return 0;
	parse_ports(cursor, quoted, 1);
	return !quoted->defect;
}

/* Looks into an ICMP message to an address that has services. A ping is answered. An error about
 * what a backend sent becomes part of the flow that it quotes: of the quoted packet, source and
 * destination have changed sides. All else stays as it is.
 */
static __always_inline verdict_t look_into_icmp(struct xdp_md *ctx,
						const struct service_table *table,
						struct packet *packet)
{
	struct cursor cursor = cursor_at(ctx, packet->l4);
	const __u8 *icmp = next_header(&cursor);
	struct packet quoted = {};
	verdict_t verdict;
	__u8 type;

	if (!is_there(&cursor, ICMP_HEADER))
		return GO_ON;
	packet->forged = is_bad_source(packet);
	FORGET(packet->forged, ctx->ingress_ifindex);
	type = *icmp;
	if (type == (packet->family == 6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO)) {
		if (packet->forged)
			return drop(DROP_BAD_SOURCE);
		verdict = may_answer(ctx, packet, ANSWER_ECHO_REPLY, table->echo_rate);
		return verdict == GO_ON ? answer_echo(ctx, packet) : verdict;
	}
	if (!is_error(packet, type))
		return GO_ON;
	cursor.offset += ICMP_HEADER;
	if (!parse_quoted(&cursor, packet->family, &quoted))
		return GO_ON;
	if (quoted.l4 + ICMP_HEADER > network_offset(packet) + packet->length)
		return GO_ON; /* it reaches into the padding */
	if (difference(packet, &quoted.source, &packet->destination))
		return GO_ON;
	packet->source = quoted.destination;
	packet->ports = quoted.ports >> 16 | quoted.ports << 16;
	packet->protocol = quoted.protocol;
	packet->quotes = 1;
	return GO_ON;
}
