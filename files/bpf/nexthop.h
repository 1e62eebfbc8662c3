/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The next hop of an encapsulated packet: a given MAC address, or what the kernel's routes and
 * neighbours say.
 */
#pragma once

#define AF_INET 2
#define LOOPBACK_IFINDEX 1

struct nexthop {
	__u32 ifindex;
	__u8 destination[ETH_ALEN];
	__u8 source[ETH_ALEN];
};

/* Why the kernel's routing has no next hop, as a drop. */
static __always_inline enum drop fib_drop(long result)
{
	if (result == BPF_FIB_LKUP_RET_NO_NEIGH)
		return DROP_NO_NEIGHBOUR;
	if (result == BPF_FIB_LKUP_RET_FWD_DISABLED)
		return DROP_FORWARDING_OFF;
	return DROP_NO_ROUTE;
}

/* Asks as the host would for a packet of its own: from the loopback interface. So the balanced
 * interface needs no forwarding (only loopback does, where it lets nothing through), and rules
 * for received packets do not apply to what the balancer sends.
 */
static __always_inline long ask_routing(struct xdp_md *ctx, struct packet *packet,
					struct backend *backend, struct backend_cpu *cpu)
{
	struct bpf_fib_lookup fib = {
		.family = AF_INET,
		.l4_protocol = IPPROTO_IPIP,
		.tos = packet->tos,
		.ifindex = LOOPBACK_IFINDEX,
		.ipv4_src = backend->source[0],
		.ipv4_dst = backend->destination[0],
	};
	long result = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);

	if (result != BPF_FIB_LKUP_RET_SUCCESS)
		return result;
	cpu->ifindex = fib.ifindex;
	__builtin_memcpy(cpu->destination, fib.dmac, ETH_ALEN);
	__builtin_memcpy(cpu->source, fib.smac, ETH_ALEN);
	return result;
}

/* The answer of the kernel's routing is kept for a second per CPU and backend: short enough to
 * follow a failover, long enough that its price does not matter.
 */
static __always_inline int find_nexthop(struct xdp_md *ctx, struct packet *packet,
					struct backend *backend, struct backend_cpu *cpu,
					struct nexthop *nexthop)
{
	__u32 now;
	long result;

	if (backend->flags & BACKEND_HAS_MAC) {
		nexthop->ifindex = ctx->ingress_ifindex;
		__builtin_memcpy(nexthop->destination, backend->destination_mac, ETH_ALEN);
		__builtin_memcpy(nexthop->source, backend->source_mac, ETH_ALEN);
		return GO_ON;
	}
	now = bpf_jiffies64();
	if (!cpu->ifindex || now - cpu->asked >= TICKS_PER_SECOND) {
		result = ask_routing(ctx, packet, backend, cpu);
		if (result != BPF_FIB_LKUP_RET_SUCCESS) {
			cpu->ifindex = 0;
			return drop(fib_drop(result));
		}
		cpu->asked = now;
	}
	nexthop->ifindex = cpu->ifindex;
	__builtin_memcpy(nexthop->destination, cpu->destination, ETH_ALEN);
	__builtin_memcpy(nexthop->source, cpu->source, ETH_ALEN);
	return GO_ON;
}

static __always_inline int transmit(struct xdp_md *ctx, struct nexthop *nexthop)
{
	if (nexthop->ifindex == ctx->ingress_ifindex)
		return XDP_TX;
	return bpf_redirect(nexthop->ifindex, 0);
}
