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
	__u64 hash; /* its fingerprint; the upper bits say in which set it is */
	__u32 seen; /* in ticks */
	__u16 backend; /* 0: the place is free */
	__u16 service;
};
ASSERT_SIZE(struct flow, 16);

struct flow_set {
	struct flow ways[FLOW_WAYS];
};
ASSERT_SIZE(struct flow_set, 64);

/* As large as a per-CPU element may be, less a half: the array of their addresses stays small, and
 * so in the cache. To bcc it is a string, see TABLE_OF.
 */
#define FLOW_BLOCK_SETS 256

struct flow_block {
	__u8 sets[FLOW_BLOCK_SETS * sizeof(struct flow_set)];
};
ASSERT_SIZE(struct flow_block, 16384);

#ifdef WITH_FLOW_TABLE
#define FLOW_SETS (FLOW_BLOCKS * FLOW_BLOCK_SETS) /* a power of two */
#define FLOW_SET_BITS __builtin_ctz(FLOW_SETS)

TABLE("percpu_array", struct flow_block, flows, FLOW_BLOCKS);
TABLE("array", __u64, flow_key, 1); /* a secret; good for these flows only */

static __always_inline struct flow_set *find_flow_set(__u64 hash)
{
	__u32 set = hash >> (64 - FLOW_SET_BITS), index = set / FLOW_BLOCK_SETS;
	struct flow_block *block = flows.lookup(&index);

	if (!block)
		return NULL;
	return (struct flow_set *)block->sets + set % FLOW_BLOCK_SETS;
}

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

/* The backend that a flow remembers, if it still takes the flow's packets. One that takes no new
 * flows does not take a SYN, which may open another connection between the same ports; all others
 * do, so that nobody moves a flow by forging one.
 */
static __always_inline struct backend *
kept_backend(const struct service *service, const struct packet *packet, const struct flow *flow)
{
	struct backend *backend = find_backend(service, flow->backend);

	if (!backend || !(backend->flags & BACKEND_KEEPS_FLOWS) ||
	    backend->service != flow->service)
		return NULL;
	if (packet->syn && !(backend->flags & BACKEND_TAKES_FLOWS))
		return NULL;
	return backend;
}

/* 1 or 0, without a branch: what a set holds cannot be predicted. */
static __always_inline __u64 is_taken(const struct flow *flow)
{
	__s64 nothing = 0;

	return (__u64)(nothing - flow->backend) >> 63;
}

/* A number that orders the ways of a set: free ones first, then those silent longest. */
static __always_inline __s64 claim_on(const struct flow_set *set, __u32 way, __u32 now)
{
	__s64 is_free = 1 - is_taken(&set->ways[way]);
	__u32 silence = now - set->ways[way].seen;

	return (is_free << 34 | (__s64)silence << 2) + way;
}

/* The place for a new flow; likewise without branches. */
static __always_inline struct flow *find_place(struct flow_set *set, __u32 now)
{
	__s64 best = claim_on(set, 0, now), other;
	__u32 way;

#pragma unroll
	for (way = 1; way < FLOW_WAYS; way++) {
		other = claim_on(set, way, now);
		best -= (best - other) & (best - other) >> 63; /* the larger of the two */
	}
	return &set->ways[best & (FLOW_WAYS - 1)];
}

/* The number of the backend that `service` has for the flow of this packet: the remembered one,
 * else the one that the lookup table gives, which is remembered from now on. `backend` is set if
 * it is at hand.
 */
static __always_inline __u32 pick_remembered_backend(const struct service *service,
						     const struct packet *packet,
						     const struct service_table *table,
						     struct backend **backend)
{
	__u32 now = bpf_jiffies64(), zero = 0, number;
	__u64 *key = flow_key.lookup(&zero);
	__u64 hash = key ? fingerprint(packet, *key) : 0;
	struct flow_events *events = flow_events.lookup(&zero);
	struct flow_set *set = find_flow_set(hash);
	struct flow *place = NULL;
	int i;

	if (!set || !events)
		return 0;
#pragma unroll
	for (i = 0; i < FLOW_WAYS; i++) {
		if (is_flow(&set->ways[i], service, hash)) {
			place = &set->ways[i];
			break;
		}
	}
	if (place && !is_idle(place, service, now)) {
		*backend = kept_backend(service, packet, place);
		if (*backend) {
			if (!packet->quotes)
				place->seen = now;
			events->hits += 1;
			return place->backend;
		}
	}
	events->misses += 1;
	number = pick_backend(service, packet, hash_flow(packet, packet->ports, table->seed),
			      table->seed);
	if (packet->quotes || !number)
		return number;
	if (!place) {
		place = find_place(set, now);
		events->replacements += is_taken(place);
	}
	place->hash = hash;
	place->service = service->id;
	place->backend = number;
	place->seen = now;
	return number;
}
#endif
