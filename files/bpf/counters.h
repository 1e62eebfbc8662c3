/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counters, all per CPU: of services, of backends of a service, of drops. */
#pragma once

/* Why a packet to a service was not forwarded. The names and their meaning to
 * an operator are in layout.py (DROPS), in the same order. */
enum drop {
	DROP_NONE, /* so that 0 means "no defect"; never counted */
	DROP_MALFORMED,
	DROP_FRAGMENT,
	DROP_NO_BACKEND,
	DROP_NO_ROUTE,
	DROP_NO_NEIGHBOUR,
	DROP_FORWARDING_OFF,
	DROP_NO_HEADROOM,
	DROP_REASONS,
};

struct counter {
	__u64 packets;
	__u64 bytes;
};
ASSERT_SIZE(struct counter, 16);

/* What a CPU keeps about a backend, together because it is touched together. */
struct backend_cpu {
	struct counter sent;
	/* The next hop as the kernel's routing last gave it; see nexthop.h. */
	__u32 asked; /* when, in ticks */
	__u32 ifindex;
	__u8 destination[ETH_ALEN];
	__u8 source[ETH_ALEN];
	__u32 padding;
};
ASSERT_SIZE(struct backend_cpu, 40);

TABLE("percpu_array", __u64, drops, DROP_REASONS);
#define SERVICE_IDS 8192

TABLE("percpu_array", struct counter, service_sent, SERVICE_IDS);
TABLE("percpu_array", struct backend_cpu, backend_cpus, BACKENDS);

static __always_inline int drop(enum drop reason)
{
	__u32 key = reason;
	__u64 *counter = drops.lookup(&key);

	if (counter)
		*counter += 1;
	return XDP_DROP;
}

static __always_inline struct backend_cpu *find_backend_cpu(__u32 number)
{
	return backend_cpus.lookup(&number);
}

/* The sent frame counts as it is on the wire, encapsulation included. */
static __always_inline void count(__u32 service_id, struct backend_cpu *cpu, __u32 bytes)
{
	struct counter *service = service_sent.lookup(&service_id);

	cpu->sent.packets += 1;
	cpu->sent.bytes += bytes;
	if (service) {
		service->packets += 1;
		service->bytes += bytes;
	}
}
