/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counters, all per CPU: of backends of a service, of the flow table, of answers, and of drops.
 * What is sent to a service counts once: for a backend, as an answer, or as a drop. Services have
 * no counters of their own: user space adds those of their backends, past ones included.
 */
#pragma once

#include "base/kernel.h"
#include "base/maps.h"
#include "base/verdict.h"

/* Why a packet to a service was not forwarded. The names and their meaning to
 * an operator are in maps/reasons.py (DROPS) of the library, in the same order. */
enum drop {
	DROP_NONE, /* so that 0 means "no defect"; never counted */
	DROP_MALFORMED,
	DROP_FRAGMENT,
	DROP_NO_BACKEND,
	DROP_NO_ROUTE,
	DROP_NO_NEIGHBOUR,
	DROP_FORWARDING_OFF,
	DROP_TOO_BIG,
	DROP_NO_ROOM,
	DROP_BAD_SOURCE,
	DROP_TTL_EXPIRED,
	DROP_NO_SERVICE,
	DROP_LIMITED,
	DROP_NO_EGRESS,
	DROP_REASONS,
};

/* What the balancer answers itself; maps/reasons.py (ANSWERS). */
enum answer {
	ANSWER_ECHO_REPLY,
	ANSWER_PACKET_TOO_BIG,
	ANSWERS,
};

/* What the flow table did; maps/reasons.py (FLOW_EVENTS). */
struct flow_events {
	__u64 hits;
	__u64 misses;
	__u64 replacements; /* misses that took the place of another flow */
	__u64 evictions; /* replacements of a confirmed flow */
};
ASSERT_SIZE(struct flow_events, 32);

struct counter {
	__u64 packets;
	__u64 bytes;
};
ASSERT_SIZE(struct counter, 16);

TABLE("percpu_array", __u64, drops, DROP_REASONS);
TABLE("percpu_array", __u64, answers, ANSWERS);
TABLE("percpu_array", struct flow_events, flow_events, 1);

static __always_inline verdict_t drop(enum drop reason)
{
	__u32 key = reason;
	__u64 *counter = drops.lookup(&key);

	if (counter)
		*counter += 1;
	return XDP_DROP;
}

static __always_inline verdict_t answered(enum answer kind)
{
	__u32 key = kind;
	__u64 *counter = answers.lookup(&key);

	if (counter)
		*counter += 1;
	return XDP_TX;
}

/* The sent frame counts as it is on the wire, encapsulation included. */
static __always_inline void count(struct counter *backend, __u32 bytes)
{
	backend->packets += 1;
	backend->bytes += bytes;
}
