/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Backends of services: how a packet travels to one, precomputed. */
#pragma once

#include "base/kernel.h"
#include "base/counters.h"
#include "base/maps.h"
#include "parse/link.h"
#include "choose/record.h"
#include "choose/service.h"

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
