/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Room for headers in front of a packet. */
#pragma once

#include "base/kernel.h"
#include "base/counters.h"
#include "base/verdict.h"
#include "parse/link.h"
#include "parse/packet.h"

#define MOST_HEADERS 48 /* bytes that are ever added: IPv6 and UDP or ICMP */

/* Moves the frame's start by `bytes` and its VLAN tags along; the headers in between and the
 * Ethernet addresses are for the caller to write. The frame's limits are to be read again.
 */
static __always_inline verdict_t make_room(struct xdp_md *ctx, const struct packet *packet,
					   __u32 bytes)
{
	void *data, *end;
	__u32 *to, *from;
	int i;

	if (bpf_xdp_adjust_head(ctx, -(int)bytes))
		return drop(DROP_NO_ROOM);
#ifdef FILL_HEADROOM
	/* a test build: whatever is not written shows */
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + MOST_HEADERS > end)
		return drop(DROP_NO_ROOM);
#pragma unroll
	for (i = 0; i < MOST_HEADERS; i++)
		if (i < bytes)
			((__u8 *)data)[i] = 0xff;
#endif
	if (!is_tagged(packet))
		return GO_ON;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	to = data + 2 * ETH_ALEN;
	from = data + bytes + 2 * ETH_ALEN;
	if ((void *)(to + 2) > end || (void *)(from + 2) > end)
		return drop(DROP_NO_ROOM);
	to[0] = from[0];
	if (packet->ethertype_at > offsetof(struct ethhdr, h_proto) + VLAN_TAG_LENGTH)
		to[1] = from[1];
	return GO_ON;
}
