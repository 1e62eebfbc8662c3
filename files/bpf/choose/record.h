/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The record of a backend: how a packet travels to it, precomputed. */
#pragma once

#include "base/kernel.h"
#include "base/maps.h"
#include "parse/address.h"

#define BACKEND_HAS_NEXTHOP 1 /* it is given, on the balanced interface; else routing finds it */
#define BACKEND_IPV6 2 /* the family of the backend's address, and so of the outer header */
#define BACKEND_KEEPS_FLOWS 4 /* enabled or drained */
#define BACKEND_TAKES_FLOWS 8 /* enabled, with a weight */
#define BACKEND_IPIP 16
#define BACKEND_GUE 32
#define BACKEND_GRE 64
#define BACKEND_L2 128

struct nexthop {
	__u8 destination[ETH_ALEN];
	__u8 source[ETH_ALEN];
	__u16 mtu; /* the longest packet that it takes, outer headers included */
};
ASSERT_SIZE(struct nexthop, 14);

struct backend {
	struct address destination; /* of the outer header */
	struct address source;
	__be32 spread; /* bits of the source's last word that differ by flow */
	__u16 sum; /* of the outer IPv4 header less tos, length and spread bits */
	__u16 flags;
	__u16 service; /* id */
	__be16 port; /* UDP destination of GUE */
	struct nexthop nexthop; /* if it is given; else its MTU limits what routing finds, 0: not */
	__u8 protocol; /* in the outer header */
	__u8 overhead; /* bytes of outer headers */
	__u8 padding[4];
};
ASSERT_SIZE(struct backend, 64);
