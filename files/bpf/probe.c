// SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
// SPDX-License-Identifier: GPL-2.0-or-later
/* Sends the packets of health checks to one backend each, encapsulated as those of clients are.
 *
 * It runs where packets leave the host, on interfaces by which routes to services lead (clsact, or
 * tcx). A socket names the record of a backend by its priority; what has no such priority is not
 * touched. The answer comes from the service's address to the host's own, and so is none of the
 * balancer's affairs.
 */
#include "base/kernel.h"
#include "base/ip.h"
#include "base/maps.h"
#include "parse/address.h"
#include "choose/record.h"
#include "send/outer.h"
#include "send/route.h"

#define TAG 0x4c340000 /* and the index of a record */
#define TAG_MASK 0xffff0000

struct probe {
	struct backend backend;
	__u32 ifindex; /* of the balanced interface, which leads to a given next hop */
	__u32 padding;
};
ASSERT_SIZE(struct probe, 72);

/* Why a packet did not leave; datapath/probes.py of the library, in the same order. */
enum refusal {
	REFUSED_NOT,
	REFUSED_NO_RECORD,
	REFUSED_SHORT,
	REFUSED_NO_ROUTE,
	REFUSED_FORWARDING_OFF,
	REFUSED_ROUTER,
	REFUSED_NO_ROOM,
};

/* What became of the packets of a record. One probe at a time uses it. */
struct probe_count {
	__u64 sent;
	__u32 refused;
	__u32 refusal; /* the last one */
};
ASSERT_SIZE(struct probe_count, 16);

TABLE("array", struct probe, probes, PROBES);
TABLE("array", struct probe_count, probe_counts, PROBES);

/* bcc 0.26 declares this one with three arguments. */
static long (*redirect_neigh)(__u32 ifindex, struct bpf_redir_neigh *hop, int length,
			      __u64 flags) = (void *)BPF_FUNC_redirect_neigh;

static __always_inline int refuse(struct probe_count *count, enum refusal refusal)
{
	count->refused += 1;
	count->refusal = refusal;
	return TC_ACT_SHOT;
}

/* Whether the next hop is known already does not matter, for the kernel finds it in time. */
static __always_inline enum refusal
ask_for_route(struct __sk_buff *skb, const struct backend *backend, struct bpf_fib_lookup *fib)
{
	long result = find_route(skb, backend, fib);

	if (result == BPF_FIB_LKUP_RET_FWD_DISABLED)
		return REFUSED_FORWARDING_OFF;
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return REFUSED_NO_ROUTE;
	return REFUSED_NOT;
}

/* Puts outer headers in front. */
static __always_inline enum refusal
put_headers(struct __sk_buff *skb, const struct backend *backend, __u8 family, __u8 tos)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO, flow = bpf_get_hash_recalc(skb);
	int ipv6 = backend->flags & BACKEND_IPV6;
	void *data, *end, *network;
	__u32 length;

	flags |= ipv6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;
	flags |= backend->flags & BACKEND_GUE ? BPF_F_ADJ_ROOM_ENCAP_L4_UDP : 0;
	flags |= backend->flags & BACKEND_GRE ? BPF_F_ADJ_ROOM_ENCAP_L4_GRE : 0;
	if (bpf_skb_adjust_room(skb, backend->overhead, BPF_ADJ_ROOM_MAC, flags))
		return REFUSED_NO_ROOM;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	network = data + sizeof(struct ethhdr);
	length = skb->len - sizeof(struct ethhdr);
	/* Even the shortest packet that is left behind the headers would do for the shim. */
	if (network + sizeof(struct ipv6hdr) + sizeof(struct udphdr) > end)
		return REFUSED_SHORT;
	if (ipv6) {
		((struct ethhdr *)data)->h_proto = htons(ETH_P_IPV6);
		write_ipv6(network, tos, backend, length, flow);
		network += sizeof(struct ipv6hdr);
		write_shim(network, family, backend, length - sizeof(struct ipv6hdr), flow);
	} else {
		((struct ethhdr *)data)->h_proto = htons(ETH_P_IP);
		write_ipv4(network, tos, backend, length, flow);
		network += sizeof(struct iphdr);
		write_shim(network, family, backend, length - sizeof(struct iphdr), flow);
	}
	return REFUSED_NOT;
}

static __always_inline int send_to_mac(struct __sk_buff *skb, const void *destination,
				       const void *source, __u32 ifindex)
{
	void *data = (void *)(long)skb->data;

	if (data + sizeof(struct ethhdr) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	copy_mac(data, destination);
	copy_mac(data + ETH_ALEN, source);
	return bpf_redirect(ifindex, 0);
}

/* To the server itself, on a link of the host. What the kernel remembers of a neighbour has the
 * EtherType of its family, which need not be that of the packet; so it only finds unknown ones.
 */
static __always_inline int send_to_neighbour(struct __sk_buff *skb, const struct backend *backend,
					     const struct bpf_fib_lookup *fib)
{
	struct bpf_redir_neigh hop = { .nh_family = AF_INET };

	if (FIRST_WORD(fib->dmac) || *(__u16 *)(fib->dmac + 4))
		return send_to_mac(skb, fib->dmac, fib->smac, fib->ifindex);
	hop.ipv4_nh = backend->destination.word[0];
	if (backend->flags & BACKEND_IPV6) {
		hop.nh_family = AF_INET6;
		__builtin_memcpy(hop.ipv6_nh, &backend->destination, sizeof(hop.ipv6_nh));
	}
	return redirect_neigh(fib->ifindex, &hop, sizeof(hop), 0);
}

static __always_inline int send(struct __sk_buff *skb, struct probe *probe,
				struct probe_count *count)
{
	struct backend *backend = &probe->backend;
	struct bpf_fib_lookup fib = {};
	void *data = (void *)(long)skb->data, *network = data + sizeof(struct ethhdr);
	int is_given = backend->flags & BACKEND_HAS_NEXTHOP;
	enum refusal refusal = REFUSED_NOT;
	__u8 family = 4, tos;

	/* no more than that, for a short UDP packet is no longer than this and its own header */
	if (network + sizeof(struct iphdr) > (void *)(long)skb->data_end)
		return refuse(count, REFUSED_SHORT);
	tos = ((struct iphdr *)network)->tos;
	if (skb->protocol == htons(ETH_P_IPV6)) {
		family = 6;
		tos = ntohl(FIRST_WORD(network)) >> 20;
	}
	if (!is_given)
		refusal = ask_for_route(skb, backend, &fib);
	if (!is_given && !refusal && !backend->overhead && is_behind_router(backend, &fib))
		refusal = REFUSED_ROUTER;
	if (!refusal && backend->overhead)
		refusal = put_headers(skb, backend, family, tos);
	if (refusal)
		return refuse(count, refusal);
	count->sent += 1;
	if (is_given)
		return send_to_mac(skb, backend->nexthop.destination, backend->nexthop.source,
				   probe->ifindex);
	if (!backend->overhead)
		return send_to_neighbour(skb, backend, &fib);
	return redirect_neigh(fib.ifindex, NULL, 0, 0);
}

int probe(struct __sk_buff *skb)
{
	__u32 index = skb->priority ^ TAG;
	struct probe_count *count;
	struct probe *record;

	if (index & TAG_MASK)
		return TC_ACT_UNSPEC; /* others' programs come after this one */
	skb->priority = 0; /* what is redirected may pass here again */
	record = probes.lookup(&index);
	count = probe_counts.lookup(&index);
	if (!record || !count)
		return TC_ACT_SHOT; /* never as it is: some backend would answer */
	if (!record->backend.flags)
		return refuse(count, REFUSED_NO_RECORD);
	return send(skb, record, count);
}
