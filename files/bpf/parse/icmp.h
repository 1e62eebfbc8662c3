/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The header of ICMP (RFC 792) and of ICMPv6 (RFC 4443). */
#pragma once

#include "base/kernel.h"
#include "parse/packet.h"

#define ICMP_HEADER 8
#define ICMPV6_HEADER 8

/* Whether a packet is an ICMP message that can be read. */
static __always_inline int is_icmp(struct xdp_md *ctx, const struct packet *packet)
{
	void *icmp = (void *)(long)ctx->data + packet->l4;

	return packet->protocol == (packet->family == 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) &&
	       !packet->defect && !packet->fragment &&
	       icmp + ICMP_HEADER <= (void *)(long)ctx->data_end &&
	       packet->l4 + ICMP_HEADER <= network_offset(packet) + packet->length;
}
