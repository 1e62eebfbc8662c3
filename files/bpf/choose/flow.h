/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The flow table: which backend a flow has, so that a change of the lookup table does not move it.
 *
 * One for each CPU, and so without locks or atomic operations: a NIC keeps the packets of a flow
 * on one CPU. It is set-associative: a flow may be in any place of one small set. So a new flow costs
 * a few stores, whatever floods in.
 *
 * A flow is tentative until it is confirmed by a second packet soon after one before, as who forges
 * packets at random sends none; what opens or resets a connection does not confirm. A new flow takes
 * a free place, else that of a tentative one, else that of a confirmed one; among several, of the one
 * that was silent longest.
 */
#pragma once

#include "base/kernel.h"
#include "base/counters.h"
#include "base/maps.h"
#include "base/verifier.h"
#include "parse/packet.h"
#include "parse/ports.h"
#include "choose/backend.h"
#include "choose/hash.h"
#include "choose/record.h"
#include "choose/service.h"

#define FLOW_WAYS 4 /* a set fills a cache line */

struct flow {
	__u64 hash; /* its fingerprint; the upper bits say in which set it is */
	__u32 seen; /* in ticks */
	__u16 backend;
	__u16 service; /* its id, and FLOW_*; 0: the place is free */
};
ASSERT_SIZE(struct flow, 16);

#define FLOW_TAKEN 0x4000
#define FLOW_CONFIRMED 0x8000
#define FLOW_STATE_SHIFT 14
#define FLOW_SECONDS_TO_CONFIRM 5 /* more than a handshake takes, less than drains wait for */

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

static __always_inline __u32 set_of(__u64 hash)
{
	return hash >> (64 - FLOW_SET_BITS);
}

static __always_inline struct flow_block *find_flow_block(__u64 hash)
{
	__u32 index = set_of(hash) / FLOW_BLOCK_SETS;

	return flows.lookup(&index);
}

/* Apart from the lookup: a compiler may prepare an address before it is known that there is a
 * block to which it belongs, and the verifier refuses that. */
static __always_inline struct flow_set *flow_set_of(struct flow_block *block, __u64 hash)
{
	return (struct flow_set *)block->sets + set_of(hash) % FLOW_BLOCK_SETS;
}

static __always_inline int is_flow(const struct flow *flow, const struct service *service,
				   __u64 hash)
{
	return flow->hash == hash &&
	       (flow->service | FLOW_CONFIRMED) == (service->id | FLOW_TAKEN | FLOW_CONFIRMED);
}

/* Whether a flow of a service has ended, that was silent for so many ticks. */
static __always_inline int has_ended(const struct service *service, __u32 silence)
{
	return service->protocol == IPPROTO_UDP &&
	       silence > service->udp_timeout * TICKS_PER_SECOND;
}

/* The backend that a flow remembers, if it still takes the flow's packets. One that takes no new
 * flows does not take a SYN, which may open another connection between the same ports; all others
 * do, so that nobody moves a flow by forging one.
 */
static __always_inline struct backend *kept_backend(const struct service *service,
						    const struct packet *packet, __u32 number)
{
	struct backend *backend = find_backend(service, number);

	if (!backend || !(backend->flags & BACKEND_KEEPS_FLOWS) || backend->service != service->id)
		return NULL;
	if (is_opening(packet) && !(backend->flags & BACKEND_TAKES_FLOWS))
		return NULL;
	return backend;
}

/* Another packet of a flow has come. */
static __always_inline void refresh(struct flow *flow, const struct packet *packet, __u32 now)
{
	if (!(flow->service & FLOW_CONFIRMED) && !(packet->tcp_flags & (TCP_SYN | TCP_RST)) &&
	    now - flow->seen < FLOW_SECONDS_TO_CONFIRM * TICKS_PER_SECOND)
		flow->service |= FLOW_CONFIRMED;
	flow->seen = now;
}

/* Of two numbers of less than 63 bits; without the branch that the compiler would make of it. */
static __always_inline __s64 larger(__s64 a, __s64 b)
{
	__s64 difference = a - b;

	WORK_OUT(difference);
	return a - (difference & difference >> 63);
}

/* A number that orders the ways of a set: free, tentative, confirmed; then those silent longest. No
 * branches, as what a set holds cannot be predicted.
 */
static __always_inline __s64 claim_on(const struct flow_set *set, __u32 way, __u32 now)
{
	__u64 state = set->ways[way].service >> FLOW_STATE_SHIFT; /* 0, 1 or 3 */
	__u32 silence = now - set->ways[way].seen;

	return ((state ^ 3) << 34 | (__u64)silence << 2) + way;
}

/* The place for a new flow; likewise without branches. */
static __always_inline struct flow *find_place(struct flow_set *set, __u32 now)
{
	__s64 best = claim_on(set, 0, now), other;
	__u32 way;

#pragma unroll
	for (way = 1; way < FLOW_WAYS; way++) {
		other = claim_on(set, way, now);
		best = larger(best, other);
	}
	return &set->ways[best & (FLOW_WAYS - 1)];
}

static __always_inline struct flow *find_flow(struct flow_set *set, const struct service *service,
					      __u64 hash)
{
	int i;

#pragma unroll
	for (i = 0; i < FLOW_WAYS; i++)
		if (is_flow(&set->ways[i], service, hash))
			return &set->ways[i];
	return NULL;
}

#define NEWS_SHIFT 16
#define NEWS_BACKEND 0xffff

/* What a place knows of a flow: a number that is larger the later it was seen, with its backend in the
 * lower bits; 0 if nothing. No branches, or the verifier would follow them for each CPU.
 */
static __always_inline __s64 news_of(const struct flow *flow, const struct service *service,
				     __u64 hash, __u32 now)
{
	__u64 difference = (flow->hash ^ hash) | ((flow->service | FLOW_CONFIRMED) ^
						  (service->id | FLOW_TAKEN | FLOW_CONFIRMED));
	__u64 less = difference - 1;
	__u32 freshness = ~(now - flow->seen);

	WORK_OUT(less);
	return (__s64)(~difference & less) >> 63 & ((__u64)freshness << NEWS_SHIFT | flow->backend);
}

static __always_inline __s64 latest_news(const struct flow_set *set, const struct service *service,
					 __u64 hash, __u32 now)
{
	__s64 latest = 0;
	int i;

	/* a flow is in one place at the most */
#pragma unroll
	for (i = 0; i < FLOW_WAYS; i++)
		latest |= news_of(&set->ways[i], service, hash, now);
	return latest;
}

#ifdef CPUS
/* Reading what other CPUs write takes long on machines with many, and errors can be forged. */
#define SEARCHES_PER_SECOND 1000

struct searches {
	__u32 second; /* when it began, in ticks */
	__u32 count;
};

TABLE("percpu_array", struct searches, searches, 1);
TABLE("array_of_maps$flows", __u32, all_flows, 1); /* `flows`, as an address that helpers take */

static __always_inline int may_search(__u32 now)
{
	__u32 zero = 0;
	struct searches *done = searches.lookup(&zero);

	if (!done)
		return 0;
	if (now - done->second >= TICKS_PER_SECOND) {
		done->second = now;
		done->count = 0;
	}
	return done->count++ < SEARCHES_PER_SECOND;
}

/* What all CPUs know of a flow. They go on writing meanwhile; at worst an error goes astray. */
static __always_inline __s64 news_of_all_cpus(const struct service *service, __u64 hash, __u32 now)
{
	__u32 zero = 0, index = set_of(hash) / FLOW_BLOCK_SETS, cpu;
	void *map = all_flows.lookup(&zero);
	struct flow_block *block;
	struct flow_set *set;
	__s64 latest = 0;

	if (!map || !may_search(now))
		return 0;
	for (cpu = 0; cpu < CPUS; cpu++) {
		block = bpf_map_lookup_percpu_elem(map, &index, cpu);
		if (!block)
			break;
		set = flow_set_of(block, hash);
		latest = larger(latest, latest_news(set, service, hash, now));
	}
	return latest;
}
#endif

/* The number of the backend that is remembered for the flow of an ICMP error; 0 if there is none. A
 * network card knows nothing of the flow that an error quotes, and gives it to any CPU.
 */
static __always_inline __u32 find_quoted(const struct service *service, const struct flow_set *set,
					 __u64 hash, __u32 now)
{
	__s64 news = latest_news(set, service, hash, now);

#ifdef CPUS
	news = larger(news, news_of_all_cpus(service, hash, now));
#endif
	return has_ended(service, ~(__u32)(news >> NEWS_SHIFT)) ? 0 : news & NEWS_BACKEND;
}

/* The number of the backend that `service` has for the flow of this packet: the remembered one,
 * else the one that the lookup table gives, which is remembered from now on, but not because of an
 * ICMP error. `backend` is set if it is at hand.
 */
static __always_inline __u32 pick_remembered_backend(const struct service *service,
						     const struct packet *packet,
						     const struct service_table *table,
						     struct backend **backend)
{
	__u32 now = bpf_jiffies64(), zero = 0, number = 0;
	__u64 *key = flow_key.lookup(&zero);
	__u64 hash = key ? fingerprint(packet, *key) : 0;
	struct flow_events *events = flow_events.lookup(&zero);
	struct flow_block *block = find_flow_block(hash);
	struct flow *place = NULL;
	struct flow_set *set;
	__u16 state = FLOW_TAKEN;

	if (!block || !events)
		return 0;
	set = flow_set_of(block, hash);
	if (packet->quotes) {
		number = find_quoted(service, set, hash, now);
	} else {
		place = find_flow(set, service, hash);
		if (place && !has_ended(service, now - place->seen)) {
			refresh(place, packet, now);
			number = place->backend;
			if (!is_opening(packet))
				state |= place->service;
		}
	}
	*backend = kept_backend(service, packet, number);
	if (*backend) {
		events->hits += 1;
		return number;
	}
	events->misses += 1;
	number = pick_backend(service, packet, hash_flow(packet, packet->ports, table->seed),
			      table->seed);
	if (packet->quotes || !number)
		return number;
	if (!place) {
		place = find_place(set, now);
		events->replacements += place->service >> FLOW_STATE_SHIFT & 1;
		events->evictions += place->service >> FLOW_STATE_SHIFT >> 1;
	}
	place->hash = hash;
	place->seen = now;
	place->backend = number;
	place->service = service->id | state;
	return number;
}
#endif
