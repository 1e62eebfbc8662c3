/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a frame leaves. */
#pragma once

#include "base/kernel.h"
#include "base/counters.h"
#include "base/verdict.h"
#include "parse/address.h"
#include "parse/link.h"
#include "parse/packet.h"
#include "choose/backend.h"
#include "choose/record.h"

/* Gives a frame the tags of its egress in place of those that it came with. */
static __always_inline verdict_t retag(struct xdp_md *ctx, const struct packet *packet,
				       const struct backend_cpu *cpu)
{
	__u32 came_with = packet->ethertype_at - offsetof(struct ethhdr, h_proto);
	void *data, *end;
	__u32 *tags;

	if (cpu->tags_length != came_with) {
		if (bpf_xdp_adjust_head(ctx, (int)came_with - (int)cpu->tags_length))
			return drop(DROP_NO_ROOM);
	}
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	tags = data + 2 * ETH_ALEN;
	if ((void *)(tags + MOST_TAGS) > end)
		return drop(DROP_NO_ROOM);
	copy_mac(data, cpu->nexthop.destination);
	copy_mac(data + ETH_ALEN, cpu->nexthop.source);
	if (cpu->tags_length)
		tags[0] = *(const __u32 *)&cpu->tags[0];
	if (cpu->tags_length > VLAN_TAG_LENGTH)
		tags[1] = *(const __u32 *)&cpu->tags[1];
	return GO_ON;
}
/* Sends a frame that is encapsulated. With a given next hop it leaves by the interface and with the
 * tags that it came by.
 */
static __always_inline verdict_t transmit(struct xdp_md *ctx, const struct packet *packet,
					  const struct backend *backend, struct backend_cpu *cpu)
{
	__u32 target = 0;

	if (!(backend->flags & BACKEND_HAS_NEXTHOP)) {
		target = cpu->target;
		if ((is_tagged(packet) || cpu->tags_length) && retag(ctx, packet, cpu) != GO_ON)
			return XDP_DROP;
	}
	count(&cpu->sent, frame_length(ctx));
	return target ? bpf_redirect(target, 0) : XDP_TX;
}
