// SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
// SPDX-License-Identifier: GPL-2.0-or-later
/* The balancer: every packet that an interface receives, from parsing to the next hop.
 *
 * bcc rewrites map accesses only in the file it is given, so the headers below are joined with
 * this one into a single text before it compiles (plugins/module_utils/_l4lb/kernel/sources.py).
 *
 * Set by -D: PIN_DIR, where the maps are pinned (absent: they are not); TICKS_PER_SECOND of the
 * kernel; BACKENDS, LOOKUP_TABLES and FLOW_BLOCKS, the sizes of maps; CPUS, how many are asked for a flow
 * (absent: the kernel, older than 5.19, lets none read what others have); and the features that a service
 * in use needs: WITH_IPV4, WITH_IPV6, WITH_MAGLEV, WITH_JHASH, WITH_ANY_PORT, WITH_BY_SOURCE, WITH_FLOW_TABLE,
 * WITH_IPIP, WITH_GUE, WITH_GRE, WITH_L2, WITH_SPREAD.
 */
#include "base/kernel.h"
#include "base/counters.h"
#include "base/verdict.h"
#include "base/verifier.h"
#include "parse/cursor.h"
#include "parse/icmp.h"
#include "parse/packet.h"
#include "parse/parse.h"
#include "parse/plain.h"
#include "parse/ports.h"
#include "choose/backend.h"
#include "choose/flow.h"
#include "choose/hash.h"
#include "choose/record.h"
#include "choose/service.h"
#include "choose/source.h"
#include "send/encap.h"
#include "send/nexthop.h"
#include "send/transmit.h"
#include "send/ttl.h"
#include "answer/quote.h"
#include "answer/too_big.h"
#include "receive/own.h"
#include "receive/stray.h"

/* The service of a packet that has no ports, as other fragments of it have none; or a verdict. */
static __always_inline struct service *
find_service_of_fragment(struct service_table *table, struct packet *packet, verdict_t *verdict)
{
	struct service *service = NULL;

#if defined(WITH_ANY_PORT) && defined(WITH_BY_SOURCE)
	service = find_service_key(table, packet, 0, packet->protocol);
	if (is_real(service) && service->flags & SERVICE_BY_SOURCE) {
		packet->ports = 0;
		return service;
	}
#endif
	if (may_be_served(table, packet))
		*verdict = drop(DROP_FRAGMENT);
	return NULL;
}

/* The service of a packet that is not plain, to an address that has services; or a verdict, which
 * is GO_ON if it is for none of them.
 */
static __always_inline struct service *find_service_of_odd(struct xdp_md *ctx,
							   struct service_table *table,
							   struct packet *packet,
							   verdict_t *verdict)
{
	*verdict = GO_ON;
	if (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP) {
		struct cursor cursor = cursor_at(ctx, packet->l4);

		parse_ports(&cursor, packet, 0);
	}
	if (is_icmp(ctx, packet)) {
		*verdict = look_into_icmp(ctx, table, packet);
		if (*verdict != GO_ON)
			return NULL;
	}
	if (packet->defect) {
		if (may_be_served(table, packet))
			*verdict = drop(packet->defect);
		return NULL;
	}
	if (packet->fragment)
		return find_service_of_fragment(table, packet, verdict);
	return find_service(table, packet);
}

/* Whether packets to a backend show the hash of their flow. */
static __always_inline int shows_flow(const struct backend *backend)
{
#ifdef WITH_SPREAD
	if (backend->spread)
		return 1;
#endif
	return backend->flags & (BACKEND_IPV6 | BACKEND_GUE);
}

/* Sends a packet to a backend of its service. */
static __always_inline verdict_t balance(struct xdp_md *ctx, const struct service_table *table,
					 struct packet *packet, struct service *service)
{
	struct nexthop *nexthop;
	struct backend *backend = NULL;
	struct backend_cpu *cpu;
	__u32 number;
	__u64 flow = 0;
	verdict_t verdict;

	WORK_OUT(service);
	if (packet->forged || is_bad_source(packet))
		return drop(DROP_BAD_SOURCE);
#ifdef WITH_FLOW_TABLE
	if (service->flags & SERVICE_FLOW_TABLE) {
		number = pick_remembered_backend(service, packet, table, &backend);
	} else
#endif
	{
		flow = hash_flow(packet, packet->ports, table->seed);
		number = pick_backend(service, packet, flow, table->seed);
	}
	if (!backend)
		backend = find_backend(service, number);
	cpu = find_backend_cpu(number);
	if (!number || !backend || !cpu)
		return drop(DROP_NO_BACKEND);
#ifdef WITH_FLOW_TABLE
	if (service->flags & SERVICE_FLOW_TABLE && shows_flow(backend))
		flow = hash_flow(packet, packet->ports, table->seed);
#endif

	nexthop = find_nexthop(ctx, table, packet, backend, cpu, &verdict);
	if (!nexthop)
		return verdict;
	if (is_expired(ctx, packet))
		return drop(DROP_TTL_EXPIRED);
	if (packet->length + backend->overhead > nexthop->mtu)
		return answer_too_big(ctx, table, packet, nexthop->mtu - backend->overhead);
	take_hop(ctx, packet);
	verdict = encapsulate(ctx, packet, backend, nexthop, flow);
	if (verdict != GO_ON)
		return verdict;
	return transmit(ctx, packet, backend, cpu);
}

/* The same for a packet that is not plain. A copy of its own, as there it is known where headers
 * are.
 */
static __always_inline verdict_t balance_odd(struct xdp_md *ctx, struct service_table *table,
					     struct packet *packet)
{
	struct service *service;
	verdict_t verdict;

	if (!parse_headers(ctx, packet))
		return XDP_PASS;
	service = find_mark(table, packet);
	if (!service || !is_own(ctx, table, packet, service))
		return XDP_PASS;
	service = find_service_of_odd(ctx, table, packet, &verdict);
	if (service)
		return balance(ctx, table, packet, service);
	return verdict == GO_ON ? judge_stray(ctx, table, packet) : verdict;
}

int l4lb(struct xdp_md *ctx)
{
	struct service_table *table = find_service_table();
	struct packet packet = {};
	struct service *service, *mark;

	if (!table)
		return XDP_PASS;
	if (!parse_plain(ctx, &packet))
		return balance_odd(ctx, table, &packet);
	service = find_service(table, &packet);
	mark = service ? service : find_mark(table, &packet);
	if (!mark || !is_own(ctx, table, &packet, mark))
		return XDP_PASS;
	if (!service)
		return judge_stray(ctx, table, &packet);
	return balance(ctx, table, &packet, service);
}
