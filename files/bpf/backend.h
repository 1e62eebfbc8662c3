/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Backends of services: how a packet travels to one, precomputed. */
#pragma once

#define BACKEND_HAS_MAC 1 /* `destination_mac` is given; else routing finds the next hop */

struct backend {
	__be32 destination[4]; /* of the outer header; IPv4 in the first word */
	__be32 source[4];
	__u32 sum; /* of the outer IPv4 header less tos and length, as checksum_of_sum() takes it */
	__u32 flags;
	__u8 destination_mac[ETH_ALEN];
	__u8 source_mac[ETH_ALEN];
	__u32 padding[3];
};
ASSERT_SIZE(struct backend, 64);

TABLE("array", struct backend, backends, BACKENDS);

static __always_inline struct backend *find_backend(__u32 number)
{
	return backends.lookup(&number);
}
