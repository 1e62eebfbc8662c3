/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How frames leave by the interface that a route names, which may be no place for XDP to send them:
 * a bridge, a bond or a VLAN device stands on others, and these send its frames. User space knows
 * how they stand on each other, and has settled it for all interfaces beforehand.
 */
#pragma once

#include "base/kernel.h"
#include "base/maps.h"
#include "parse/link.h"

#define EGRESSES 4096
#define MOST_MTU 0xffff

/* `mac` is that of the next hop, where it depends on that; or 0. */
struct egress_key {
	__u32 ifindex;
	__u8 mac[ETH_ALEN];
	__u16 padding;
};
ASSERT_SIZE(struct egress_key, 12);

struct egress {
	__u32 target; /* the interface that sends frames; 0: the one that they came by */
	__u32 tags_length; /* of the tags that they get, in bytes */
	struct vlan_tag tags[MOST_TAGS]; /* the outer one first */
};
ASSERT_SIZE(struct egress, 16);

KEYED("hash", struct egress_key, struct egress, egresses, EGRESSES);

/* The longest packet that an interface takes; 0: it has gone. The MTU that routing would tell is not
 * to be trusted: it is what the last ICMP error said, and anyone can send one.
 */
static __always_inline __u32 interface_mtu(struct xdp_md *ctx, __u32 ifindex)
{
	__u32 mtu = 0;

	if (bpf_check_mtu(ctx, ifindex, &mtu, 0, 0) < 0)
		return 0;
	return mtu > MOST_MTU ? MOST_MTU : mtu;
}

/* The longest packet that fits by an egress. Beyond it the kernel leaves room for one tag. */
static __always_inline __u32 egress_mtu(struct xdp_md *ctx, const struct egress *egress)
{
	__u32 mtu = interface_mtu(ctx, egress->target ? egress->target : ctx->ingress_ifindex);

	return mtu && egress->tags_length > VLAN_TAG_LENGTH ? mtu - VLAN_TAG_LENGTH : mtu;
}

/* How frames to a next hop leave by an interface, and sets the longest packet; NULL: they cannot.
 * Where the way of a certain next hop has gone, it may be found on the way of all others.
 */
static __always_inline struct egress *find_egress(struct xdp_md *ctx, __u32 ifindex,
						  const void *mac, __u32 *mtu)
{
	struct egress_key key = { .ifindex = ifindex };
	struct egress *egress;

	__builtin_memcpy(key.mac, mac, ETH_ALEN);
	egress = egresses.lookup(&key);
	*mtu = egress ? egress_mtu(ctx, egress) : 0;
	if (*mtu)
		return egress;
	__builtin_memset(key.mac, 0, ETH_ALEN);
	egress = egresses.lookup(&key);
	*mtu = egress ? egress_mtu(ctx, egress) : 0;
	return *mtu ? egress : NULL;
}
