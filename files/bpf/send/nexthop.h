/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The next hop of a packet: a given MAC address, or what the kernel's routes and neighbours say. */
#pragma once

#include "base/kernel.h"
#include "base/counters.h"
#include "base/verdict.h"
#include "parse/packet.h"
#include "choose/backend.h"
#include "choose/record.h"
#include "choose/service.h"
#include "send/egress.h"
#include "send/resolve.h"
#include "send/route.h"

#define NO_EGRESS 256 /* beyond what bpf_fib_lookup answers (BPF_FIB_LKUP_RET_...) */

/* Why the kernel's routing has no next hop, as a drop. */
static __always_inline enum drop fib_drop(long result)
{
	if (result == BPF_FIB_LKUP_RET_NO_NEIGH)
		return DROP_NO_NEIGHBOUR;
	if (result == BPF_FIB_LKUP_RET_FWD_DISABLED)
		return DROP_FORWARDING_OFF;
	if (result == NO_EGRESS)
		return DROP_NO_EGRESS;
	return DROP_NO_ROUTE;
}

/* Asks for the next hop of a backend, and keeps the answer. */
static __always_inline long ask_routing(struct xdp_md *ctx, struct backend *backend,
					struct backend_cpu *cpu)
{
	struct bpf_fib_lookup fib = {};
	__u32 mtu, most, limit = backend->nexthop.mtu;
	long result = find_route(ctx, backend, &fib);
	struct egress *egress;

	if (result != BPF_FIB_LKUP_RET_SUCCESS)
		return result;
#ifdef WITH_L2
	/* Only the server itself can take a packet that is not encapsulated, not a router. */
	if (backend->flags & BACKEND_L2 && is_behind_router(backend, &fib))
		return BPF_FIB_LKUP_RET_NOT_FWDED;
#endif
	egress = find_egress(ctx, fib.ifindex, fib.dmac, &most);
	mtu = interface_mtu(ctx, fib.ifindex);
	if (!egress || !mtu)
		return NO_EGRESS;
	mtu = most < mtu ? most : mtu;
	cpu->nexthop.mtu = limit && limit < mtu ? limit : mtu;
	cpu->ifindex = fib.ifindex;
	cpu->target = egress->target;
	cpu->tags_length = egress->tags_length;
	__builtin_memcpy(cpu->tags, egress->tags, sizeof(cpu->tags));
	__builtin_memcpy(cpu->nexthop.destination, fib.dmac, ETH_ALEN);
	__builtin_memcpy(cpu->nexthop.source, fib.smac, ETH_ALEN);
	return result;
}

/* The next hop of a backend, or NULL and a verdict.
 *
 * The answer of the kernel's routing is kept for a second per CPU and backend: short enough to
 * follow a failover, long enough that its price does not matter.
 */
static __always_inline struct nexthop *find_nexthop(struct xdp_md *ctx,
						    const struct service_table *table,
						    struct packet *packet, struct backend *backend,
						    struct backend_cpu *cpu, verdict_t *verdict)
{
	__u32 now;
	long result;
	int tried;

	if (backend->flags & BACKEND_HAS_NEXTHOP)
		return &backend->nexthop;
	if (is_tagged(packet) && !vlan_receiver(ctx, table, packet)) {
		*verdict = XDP_PASS; /* the host takes no part in this VLAN */
		return NULL;
	}
	now = bpf_jiffies64();
	if (cpu->ifindex && now - cpu->asked < TICKS_PER_SECOND)
		return &cpu->nexthop;
	result = ask_routing(ctx, backend, cpu);
	/* Somebody else has switched forwarding off: not a word about routes, so the last holds. */
	if (result == BPF_FIB_LKUP_RET_SUCCESS ||
	    (result == BPF_FIB_LKUP_RET_FWD_DISABLED && cpu->ifindex)) {
		cpu->asked = now;
		return &cpu->nexthop;
	}
	*verdict = drop(fib_drop(result));
	tried = !cpu->ifindex && now - cpu->asked < TICKS_PER_SECOND;
	cpu->ifindex = 0;
	if (result == BPF_FIB_LKUP_RET_NO_NEIGH && !tried) {
		cpu->asked = now;
		*verdict = have_resolved(ctx, packet, backend);
	}
	return NULL;
}
