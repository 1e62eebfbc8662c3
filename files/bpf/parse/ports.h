/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The transport header: ports, and the flags of TCP. */
#pragma once

#include "base/kernel.h"
#include "base/counters.h"
#include "parse/cursor.h"
#include "parse/packet.h"

#define TCP_FLAGS_OFFSET 13
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

static __always_inline __u8 tcp_flags_of(const void *tcp)
{
	return ((const __u8 *)tcp)[TCP_FLAGS_OFFSET];
}

/* Whether a packet opens a TCP connection. */
static __always_inline int is_opening(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Fills in the ports, if the packet has them and is TCP or UDP, as it must be. */
static __always_inline void parse_ports(const struct cursor *cursor, struct packet *packet,
					int quoted)
{
	__u32 least =
		packet->protocol == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);
	const __be32 *ports = next_header(cursor);

	if (packet->defect || packet->fragment)
		return;
	if (!is_there(cursor, sizeof(struct udphdr))) {
		packet->defect = DROP_MALFORMED;
		return;
	}
	packet->ports = *ports;
	if (quoted)
		return;
	if (packet->l4 - network_offset(packet) + least > packet->length)
		packet->defect = DROP_MALFORMED;
	else if (packet->protocol == IPPROTO_TCP && is_there(cursor, sizeof(struct tcphdr)))
		packet->tcp_flags = tcp_flags_of(ports);
}
