/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The flow table: which backend a flow has, so that a change of the lookup table does not move it.
 *
 * One for each CPU, and so without locks or atomic operations: a NIC keeps the packets of a flow
 * on one CPU. It is set-associative: a flow may be in any place of one small set, and takes the
 * place of the one that was silent longest. So a new flow costs a few stores, whatever floods in.
 */
#pragma once

#define FLOW_WAYS 4 /* a set fills a cache line */

struct flow {
	__u64 hash;
	__u32 seen; /* in ticks */
	__u16 backend; /* 0: the place is free */
	__u16 service;
};
ASSERT_SIZE(struct flow, 16);

struct flow_set {
	struct flow ways[FLOW_WAYS];
};
ASSERT_SIZE(struct flow_set, 64);

#ifdef WITH_FLOW_TABLE
TABLE("percpu_array", struct flow_set, flows, FLOW_SETS);

static __always_inline int is_flow(const struct flow *flow, const struct service *service,
				   __u64 hash)
{
	return flow->hash == hash && flow->service == service->id && flow->backend;
}

static __always_inline int is_idle(const struct flow *flow, const struct service *service,
				   __u32 now)
{
	return service->protocol == IPPROTO_UDP &&
	       now - flow->seen > service->udp_timeout * TICKS_PER_SECOND;
}

/* Whether the backend that a flow remembers still takes its packets. */
static __always_inline int is_kept(const struct flow *flow)
{
	struct backend *backend = find_backend(flow->backend);

	return backend && backend->flags & BACKEND_KEEPS_FLOWS && backend->service == flow->service;
}

/* The backend that `service` has for the flow of this packet: the remembered one, else the one
 * that the lookup table gives, which is remembered from now on.
 */
static __always_inline __u32 pick_remembered_backend(const struct service *service,
						     const struct packet *packet, __u64 hash)
{
	__u32 index = hash & (FLOW_SETS - 1), now = bpf_jiffies64(), number;
	struct flow_set *set = flows.lookup(&index);
	struct flow *place = NULL;
	int known = 0, i;

	if (!set)
		return pick_backend(service, packet, hash);
#pragma unroll
	for (i = 0; i < FLOW_WAYS; i++) {
		if (is_flow(&set->ways[i], service, hash)) {
			place = &set->ways[i];
			known = 1;
			break;
		}
	}
	if (known && !packet->syn && !is_idle(place, service, now) && is_kept(place)) {
		if (!packet->quotes)
			place->seen = now;
		flow_event(FLOW_HIT);
		return place->backend;
	}
	flow_event(FLOW_MISS);
	number = pick_backend(service, packet, hash);
	if (packet->quotes || !number)
		return number;
	if (!known) {
		place = &set->ways[0];
#pragma unroll
		for (i = 1; i < FLOW_WAYS; i++) {
			struct flow *other = &set->ways[i];

			if (!place->backend)
				break;
			if (!other->backend || (__s32)(other->seen - place->seen) < 0)
				place = other;
		}
		if (place->backend)
			flow_event(FLOW_REPLACEMENT);
	}
	place->hash = hash;
	place->service = service->id;
	place->backend = number;
	place->seen = now;
	return number;
}
#endif
