/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Backends of services: how a packet travels to one, precomputed. */
#pragma once

#include "base/kernel.h"
#include "base/counters.h"
#include "base/maps.h"
#include "parse/address.h"
#include "parse/link.h"
#include "choose/service.h"

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

/* A record is not written at one stroke, so no packet may use one that is being written. There are
 * two of each backend, and the service says which is in use: all of a service change at once.
 */
struct backend_records {
	struct backend first;
	struct backend second;
};
ASSERT_SIZE(struct backend_records, 128);

/* What a CPU keeps about a backend, together because it is touched together. */
struct backend_cpu {
	struct counter sent;
	/* as the kernel's routing last gave it, see send/nexthop.h, and how frames leave,
	 * see send/egress.h */
	struct nexthop nexthop;
	__u16 tags_length;
	__u32 ifindex; /* that the route names; 0: there is none */
	__u32 asked; /* when, in ticks */
	__u32 target;
	struct vlan_tag tags[MOST_TAGS];
	__u32 padding;
};
ASSERT_SIZE(struct backend_cpu, 56);

TABLE("array", struct backend_records, backends, BACKENDS);
TABLE("percpu_array", struct backend_cpu, backend_cpus, BACKENDS);

/* The one of two that `service` uses. */
static __always_inline struct backend *record_of(const struct service *service,
						 struct backend_records *records)
{
	return (void *)records + (service->flags & SERVICE_SECOND);
}

static __always_inline struct backend *find_backend(const struct service *service, __u32 number)
{
	struct backend_records *records = backends.lookup(&number);

	return records ? record_of(service, records) : NULL;
}

static __always_inline struct backend_cpu *find_backend_cpu(__u32 number)
{
	return backend_cpus.lookup(&number);
}
