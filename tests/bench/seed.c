// SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The algorithm that this project starts from, written anew to measure against: the l4lb demo,
 * whose table of 512 servers is a hash map with the slot as its key, with counters shared by all
 * CPUs in its elements, and a checksum over the whole outer header, folded once.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/udp.h>

#define SLOTS 512
#define OUTER_TTL 8

struct server {
	__u64 packets;
	__u64 bytes;
	__be32 source;
	__be32 destination;
	__u8 mac[ETH_ALEN];
	__u8 padding[2];
};

BPF_TABLE("hash", __u32, struct server, servers, SLOTS);

/* Its own copy, so that work on files/bpf does not change what it is compared with. */
static __always_inline __u32 hash_of(__u32 a, __u32 b, __u32 start)
{
	__u32 c = start + 0xdeadbeef + (2 << 2);

#define TURN(to, by, bits) ((to) = ((to) ^ (by)) - ((by) << (bits) | (by) >> (32 - (bits))))
	a += c;
	b += c;
	TURN(c, b, 14);
	TURN(a, c, 11);
	TURN(b, a, 25);
	TURN(c, b, 16);
	TURN(a, c, 4);
	TURN(b, a, 14);
	TURN(c, b, 24);
#undef TURN
	return c;
}

static __always_inline struct server *server_for(__u32 address, __u32 ports)
{
	__u32 slot = hash_of(address, ports, SLOTS) % SLOTS;
	struct server *server = servers.lookup(&slot);

	if (!server) {
		slot = 0;
		server = servers.lookup(&slot);
	}
	return server;
}

int seed(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct server *server;
	__u8 own_mac[ETH_ALEN];
	__u32 ports, sum = 0;
	__u16 *word, length;
	int i;

	if ((void *)(eth + 1) > end || eth->h_proto != htons(ETH_P_IP))
		return XDP_PASS;
	if ((void *)(ip + 1) > end)
		return XDP_DROP;
	if (ip->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = (void *)(ip + 1);

		if ((void *)(tcp + 1) > end)
			return XDP_DROP;
	} else if (ip->protocol == IPPROTO_UDP) {
		struct udphdr *udp = (void *)(ip + 1);

		if ((void *)(udp + 1) > end)
			return XDP_DROP;
	} else {
		return XDP_PASS;
	}
	ports = *(__u32 *)(ip + 1);
	length = ntohs(ip->tot_len);
	__builtin_memcpy(own_mac, eth->h_dest, ETH_ALEN);

	server = server_for(ip->saddr, ports);
	if (!server)
		return XDP_DROP;

	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip)))
		return XDP_DROP;
	end = (void *)(long)ctx->data_end;
	eth = (void *)(long)ctx->data;
	ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > end)
		return XDP_DROP;

	__builtin_memcpy(eth->h_dest, server->mac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, own_mac, ETH_ALEN);
	eth->h_proto = htons(ETH_P_IP);
	*(__u8 *)ip = 0x45;
	ip->tos = 0;
	ip->tot_len = htons(length + sizeof(*ip));
	ip->id = 0;
	ip->frag_off = 0;
	ip->ttl = OUTER_TTL;
	ip->protocol = IPPROTO_IPIP;
	ip->check = 0;
	ip->saddr = server->source;
	ip->daddr = server->destination;
	word = (__u16 *)ip;
#pragma unroll
	for (i = 0; i < (int)sizeof(*ip) / 2; i++)
		sum += word[i];
	ip->check = ~((sum & 0xffff) + (sum >> 16));

	__sync_fetch_and_add(&server->packets, 1);
	__sync_fetch_and_add(&server->bytes, ctx->data_end - ctx->data);
	return XDP_TX;
}
