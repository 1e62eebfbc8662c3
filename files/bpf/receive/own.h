/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which frames are for this host: by the MAC address that they are to. */
#pragma once

#include "base/kernel.h"
#include "base/maps.h"
#include "parse/address.h"
#include "parse/packet.h"
#include "choose/backend.h"
#include "choose/record.h"
#include "choose/service.h"
#include "send/resolve.h"
#include "send/route.h"

#define ASKED_PER_SECOND 4

/* What routing last said about the interface, per CPU; and with which questions it was found, which
 * are here as the verifier would tell paths apart by what they leave on the stack.
 */
struct routed_mac {
	__u64 mac; /* as in own_macs; 0: it has not said */
	__u32 generation; /* of the service table then: a new one has the right addresses */
	__u32 asked; /* when, in ticks */
	__u32 backend; /* number of the one to ask about; 0: any */
	__u32 choice; /* of the service */
	struct bpf_fib_lookup route;
};

TABLE("percpu_array", struct routed_mac, routed_macs, 1);

/* The number of a backend that takes new flows, not always the same; 0 if the service has none. */
static __always_inline __u32 any_backend(const struct service *service, struct routed_mac *known)
{
	struct lookup_table *table;

	known->choice = service->choice;
	if (service->flags & SERVICE_SETTLED)
		return known->choice;
	table = lookup_tables.lookup(&known->choice);
	return table ? ((__u16 *)table->slots)[known->asked % JHASH_SLOTS] : 0;
}

/* Asks which MAC address the host sends with by this interface, where some backend is behind it.
 *
 * With its MAC address the interface loses all its neighbours. If none is known, the frame, which is
 * to a MAC address that `known` is not, is used to have one found. It is lost for whoever else may
 * have that address, so not where the interface is a port of a bridge, which would take it there.
 */
static __always_inline void ask_for_mac(struct xdp_md *ctx, const struct service_table *table,
					struct packet *packet, const struct service *service,
					struct routed_mac *known, int is_known)
{
	struct bpf_fib_lookup *route = &known->route;
	struct backend_records *records;
	struct backend *backend;
	long result;

	if (!known->backend)
		known->backend = any_backend(service, known);
	records = backends.lookup(&known->backend);
	if (!known->backend || !records)
		return;
	backend = record_of(service, records);
	if (backend->flags & BACKEND_HAS_NEXTHOP) {
		known->backend = 0; /* frames to it leave from the address of the last run */
		return;
	}
	__builtin_memset(route, 0, sizeof(*route));
	result = find_route(ctx, backend, route);
	if (result == BPF_FIB_LKUP_RET_SUCCESS &&
	    (route->ifindex == ctx->ingress_ifindex ||
	     route->ifindex == vlan_receiver(ctx, table, packet))) {
		known->mac = mac_at(route->smac);
		return;
	}
	known->backend = 0;
	if (result == BPF_FIB_LKUP_RET_NO_NEIGH && !is_known &&
	    route->ifindex == ctx->ingress_ifindex)
		have_resolved(ctx, packet, backend);
}

/* Whether a MAC address is the one that the host sends with by this interface, so that a change is
 * followed. Routing is asked so seldom that whoever floods frames for others costs nothing.
 */
static __always_inline int is_routed(struct xdp_md *ctx, const struct service_table *table,
				     struct packet *packet, const struct service *service,
				     __u64 mac)
{
	__u32 zero = 0, now = bpf_jiffies64();
	struct routed_mac *known = routed_macs.lookup(&zero);

	if (!known)
		return 0;
	if (known->generation != table->generation) {
		known->generation = table->generation;
		known->mac = 0;
		known->backend = 0;
	}
	if (now - known->asked >= TICKS_PER_SECOND / ASKED_PER_SECOND) {
		known->asked = now;
		ask_for_mac(ctx, table, packet, service, known, known->mac == mac);
	}
	return known->mac == mac;
}

/* The place of a MAC address in own_macs, behind the first; 0: it is not there. */
static __always_inline __u32 place_of(const struct service_table *table, __u64 mac)
{
	__u32 i;

	for (i = 1; i < OWN_MACS && table->own_macs[i]; i++)
		if (mac == table->own_macs[i])
			return i;
	return 0;
}

/* Whether a frame is to this host. Of its `service` any backend will do, so a mark does, too. */
static __always_inline int is_own(struct xdp_md *ctx, const struct service_table *table,
				  struct packet *packet, const struct service *service)
{
	void *data = (void *)(long)ctx->data;
	__u64 mac;

	if (data + sizeof(struct ethhdr) > (void *)(long)ctx->data_end)
		return 0;
	mac = mac_at(data);
	if (__builtin_expect(mac == table->own_macs[0], 1))
		return 1;
	if (is_group(data) || !mac)
		return 0;
	return place_of(table, mac) || is_routed(ctx, table, packet, service, mac);
}
