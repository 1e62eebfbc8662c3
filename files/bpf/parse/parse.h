/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All other packets. */
#pragma once

#include "base/kernel.h"
#include "base/verifier.h"
#include "parse/cursor.h"
#include "parse/ipv4.h"
#include "parse/ipv6.h"
#include "parse/link.h"
#include "parse/packet.h"

/* All packets are the same to the verifier from here on. */
static __always_inline void forget_path(struct xdp_md *ctx, struct packet *packet)
{
	__u32 unknown = ctx->ingress_ifindex;

	FORGET(packet->ethertype_at, unknown);
	FORGET(packet->l4, unknown);
	FORGET(packet->length, unknown);
	FORGET(packet->protocol, unknown);
	FORGET(packet->fragment, unknown);
	FORGET(packet->defect, unknown);
	FORGET(packet->routed, unknown);
	packet->ethertype_at &= LINK_HEADERS_MASK;
	packet->l4 &= IP_HEADERS_LENGTH;
}

/* Fills `packet` but for the ports; 0: nothing that could be to a service. Addresses and protocol are
 * right even with a defect.
 */
static __always_inline int parse_headers(struct xdp_md *ctx, struct packet *packet)
{
	struct cursor cursor = cursor_at(ctx, 0);
	int found = 0;

	if (!parse_link(&cursor, packet))
		return 0;
#ifdef WITH_IPV4
	if (packet->family == 4)
		found = parse_ipv4(&cursor, packet, 0);
#endif
#ifdef WITH_IPV6
	if (packet->family == 6)
		found = parse_ipv6(&cursor, packet, 0);
#endif
	if (found)
		forget_path(ctx, packet);
	return found;
}
