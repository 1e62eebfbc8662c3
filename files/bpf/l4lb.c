// SPDX-License-Identifier: GPL-2.0-or-later
/* The balancer: every packet that an interface receives, from parsing to the next hop.
 *
 * bcc rewrites map accesses only in the file it is given, so the headers below are joined with
 * this one into a single text before it compiles (plugins/module_utils/compiler.py).
 *
 * Set by -D: PIN_DIR, where the maps are pinned (absent: they are not); TICKS_PER_SECOND of the
 * kernel; BACKENDS, LOOKUP_TABLES and FLOW_BLOCKS, the sizes of maps; and the features that a service
 * in use needs: WITH_IPV4, WITH_IPV6, WITH_MAGLEV, WITH_JHASH, WITH_ANY_PORT, WITH_BY_SOURCE, WITH_FLOW_TABLE,
 * WITH_IPIP, WITH_GUE, WITH_GRE, WITH_L2, WITH_SPREAD.
 */
#include "maps.h"
#include "counters.h"
#include "checksum.h"
#include "packet.h"
#include "hash.h"
#include "service.h"
#include "source.h"
#include "backend.h"
#include "flow.h"
#include "encap.h"
#include "icmp.h"
#include "nexthop.h"

/* The service of a packet that has no ports, as other fragments of it have none; or a verdict. */
static __always_inline struct service *find_service_of_fragment(struct service_table *table,
								struct packet *packet, int *verdict)
{
	struct service *service = NULL;

	*verdict = XDP_PASS;
#if defined(WITH_ANY_PORT) && defined(WITH_BY_SOURCE)
	service = find_service_key(table, packet, 0, packet->protocol);
	if (is_real(service) && service->flags & SERVICE_BY_SOURCE) {
		packet->ports = 0;
		return service;
	}
#endif
	if (service_owns_address(table, packet))
		*verdict = drop(DROP_FRAGMENT);
	return NULL;
}

/* The service of a packet that is not plain; or a verdict. */
static __always_inline struct service *find_service_of_odd(struct xdp_md *ctx,
							   struct service_table *table,
							   struct packet *packet, int *verdict)
{
	*verdict = XDP_PASS;
	if (parse(ctx, packet) < 0)
		return NULL;
	if (packet->protocol == (packet->family == 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
		*verdict = look_into_icmp(ctx, table, packet);
		if (*verdict != GO_ON)
			return NULL;
		*verdict = XDP_PASS;
	}
	if (packet->defect) {
		if (service_owns_address(table, packet))
			*verdict = drop(packet->defect);
		return NULL;
	}
	if (packet->fragment)
		return find_service_of_fragment(table, packet, verdict);
	return find_service(table, packet);
}

/* Sends a packet to a backend of its service. */
static __always_inline int balance(struct xdp_md *ctx, const struct service_table *table,
				   struct packet *packet, struct service *service)
{
	struct nexthop *nexthop;
	struct backend *backend = NULL;
	struct backend_cpu *cpu;
	__u32 number;
	__u64 flow;
	int verdict;

	if (packet->forged || is_bad_source(packet))
		return drop(DROP_BAD_SOURCE);
	flow = hash_flow(packet, &packet->source, packet->ports, table->seed);
#ifdef WITH_FLOW_TABLE
	if (service->flags & SERVICE_FLOW_TABLE)
		number = pick_remembered_backend(service, packet, flow, table->seed, &backend);
	else
#endif
		number = pick_backend(service, packet, flow, table->seed);
	if (!backend)
		backend = find_backend(service, number);
	cpu = find_backend_cpu(number);
	if (!number || !backend || !cpu)
		return drop(DROP_NO_BACKEND);

	nexthop = find_nexthop(ctx, table, packet, backend, cpu, &verdict);
	if (!nexthop)
		return verdict;
	if (packet->length + backend->overhead > nexthop->mtu)
		return answer_too_big(ctx, packet, nexthop->mtu - backend->overhead);
	verdict = encapsulate(ctx, packet, backend, nexthop, flow);
	if (verdict != GO_ON)
		return verdict;

	count(&cpu->sent, frame_length(ctx));
	return transmit(ctx, packet, backend, cpu);
}

int l4lb(struct xdp_md *ctx)
{
	struct service_table *table = find_service_table();
	struct packet packet = {};
	struct service *service;
	int verdict;

	if (!table)
		return XDP_PASS;
	if (parse_plain(ctx, &packet)) {
		service = find_service(table, &packet);
		return service ? balance(ctx, table, &packet, service) : XDP_PASS;
	}
	/* Balanced by a copy of its own: where the headers are is known in the other. */
	service = find_service_of_odd(ctx, table, &packet, &verdict);
	return service ? balance(ctx, table, &packet, service) : verdict;
}
