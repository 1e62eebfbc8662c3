/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A received packet: parsing it, its length. */
#pragma once

#include "base/kernel.h"
#include "base/counters.h"
#include "parse/address.h"

struct packet {
	struct address source; /* the client */
	struct address destination;
	__u32 ports; /* as in the packet: source port, then destination port */
	__u16 ethertype_at; /* offset, behind up to two VLAN tags; then comes the IP header */
	__u16 length; /* of the IP packet, in host order; the frame may be padded */
	__u8 family; /* 4 or 6 */
	__u8 protocol; /* of the transport header */
	__u8 tos; /* or traffic class */
	__u8 tcp_flags;
	__u8 fragment; /* has no ports, or its other fragments have none */
	__u8 quotes; /* an ICMP error: ports and so on are those of the flow that it quotes */
	__u8 routed; /* by the sender: IPv6, and hops are left that it wants to be taken */
	__u8 forged; /* an ICMP message from a source that no host has */
	__u32 l4; /* offset of the transport header */
	enum drop defect; /* why it cannot be balanced, if it is to a service */
};

/* The barrier keeps the compiler from arithmetic with the end alone, which the verifier refuses. */
static __always_inline __u32 frame_length(struct xdp_md *ctx)
{
	long length = (long)ctx->data_end - (long)ctx->data;

	asm volatile("" : "+r"(length));
	return length;
}

static __always_inline int is_tagged(const struct packet *packet)
{
	return packet->ethertype_at != offsetof(struct ethhdr, h_proto);
}

static __always_inline __u32 network_offset(const struct packet *packet)
{
	return packet->ethertype_at + sizeof(__be16);
}
