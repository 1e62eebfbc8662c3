// SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The least that IPv4 in IPv4 can cost: parse as far as the ports, make room, write an outer header
 * that is the same for every packet. No maps, no hash, no counters.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>

#define PORTS_LEN 4
#define CONSTANT_SUM 0x4500 /* stands in for the sum of the words that do not change */

int floor(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	__u32 sum;
	__u16 length;

	if ((void *)(ip + 1) + PORTS_LEN > end || eth->h_proto != htons(ETH_P_IP))
		return XDP_PASS;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	if (*(__u32 *)(ip + 1) == 0)
		return XDP_PASS;
	length = ntohs(ip->tot_len);

	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip)))
		return XDP_DROP;
	end = (void *)(long)ctx->data_end;
	eth = (void *)(long)ctx->data;
	ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > end)
		return XDP_DROP;

	__builtin_memset(eth->h_dest, 2, ETH_ALEN);
	__builtin_memset(eth->h_source, 6, ETH_ALEN);
	eth->h_proto = htons(ETH_P_IP);
	*(__u8 *)ip = 0x45;
	ip->tos = 0;
	ip->tot_len = htons(length + sizeof(*ip));
	ip->id = 0;
	ip->frag_off = htons(0x4000);
	ip->ttl = 64;
	ip->protocol = IPPROTO_IPIP;
	ip->saddr = htonl(0xc0000202);
	ip->daddr = htonl(0x0a000001);
	sum = CONSTANT_SUM + ip->tot_len;
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~((sum & 0xffff) + (sum >> 16));
	return XDP_TX;
}
