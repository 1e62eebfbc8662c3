/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel's routes say of the way to a backend. */
#pragma once

#include "base/kernel.h"
#include "base/ip.h"
#include "choose/record.h"

/* Asks as the host would for a packet of its own to the backend: from the loopback interface. So the
 * balanced interface needs no forwarding (only loopback does, where it lets nothing through), and
 * rules for received packets do not apply to what the balancer sends.
 *
 * The answer holds for all packets to the backend, so it depends on nothing that one of them brings.
 * It is that for the answer to a ping from the backend to the source of the tunnel, of a prefix to
 * its first address: have_resolved() makes the host send one, and equal-cost routes choose by all of
 * this. User space asks the same (network/routes.py), to keep every neighbour resolved that they can
 * choose.
 */
static __always_inline long find_route(void *ctx, const struct backend *backend,
				       struct bpf_fib_lookup *fib)
{
	fib->ifindex = LOOPBACK_IFINDEX;
	if (backend->flags & BACKEND_IPV6) {
		fib->family = AF_INET6;
		fib->l4_protocol = IPPROTO_ICMPV6;
		fib->sport = htons(ICMPV6_ECHO_REPLY << 8); /* where ICMP has its type and code */
		__builtin_memcpy(fib->ipv6_src, &backend->source, sizeof(fib->ipv6_src));
		__builtin_memcpy(fib->ipv6_dst, &backend->destination, sizeof(fib->ipv6_dst));
	} else {
		fib->family = AF_INET;
		fib->l4_protocol = IPPROTO_ICMP;
		fib->ipv4_src = backend->source.word[0];
		fib->ipv4_dst = backend->destination.word[0];
	}
	return bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
}

/* Whether the next hop is another than the backend itself. */
static __always_inline int is_behind_router(const struct backend *backend,
					    const struct bpf_fib_lookup *fib)
{
	if (!(backend->flags & BACKEND_IPV6))
		return fib->ipv4_dst != backend->destination.word[0];
	return fib->ipv6_dst[0] != backend->destination.word[0] ||
	       fib->ipv6_dst[1] != backend->destination.word[1] ||
	       fib->ipv6_dst[2] != backend->destination.word[2] ||
	       fib->ipv6_dst[3] != backend->destination.word[3];
}
