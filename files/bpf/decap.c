// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The XDP program of a real server: takes off the outer header that a
 * balancer has put on, so that the stack sees the client's own packet.
 *
 *	before  Ethernet [VLAN tags] | outer IPv4 | inner IPv4 | ...
 *	after                Ethernet [VLAN tags] | inner IPv4 | ...
 *
 * What is no tunnel packet to an address of ours, or is malformed, goes to
 * the stack as it came: only the stack answers, counts errors and drops.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>

#define VLAN_TAGS_MAX 2
#define VLAN_TAG_LEN 4
#define LINK_HEADER_MAX (ETH_HLEN + VLAN_TAGS_MAX * VLAN_TAG_LEN)

/* The balancer sends neither options nor fragments, so neither is a tunnel packet here. */
#define OUTER_LEN ((int)sizeof(struct iphdr))
#define IP_FRAGMENT_BITS 0x3fff /* more fragments, and the offset */

/*
 * Where tunnels end: our address on an interface. The interface is part of
 * it so that one program serves several of them, each with its own addresses.
 */
struct tunnel_end {
	__u32 ifindex;
	__be32 address;
};

BPF_HASH(tunnel_ends, struct tunnel_end, __u8, 256);

/* The network header's offset, or -1; *protocol is what the last tag announces. */
static __always_inline int parse_link(void *data, void *data_end, __be16 *protocol)
{
	int offset = ETH_HLEN;
	int i;

	if (data + offset > data_end)
		return -1;
	*protocol = ((struct ethhdr *)data)->h_proto;

#pragma unroll
	for (i = 0; i < VLAN_TAGS_MAX; i++) {
		if (*protocol != htons(ETH_P_8021Q) && *protocol != htons(ETH_P_8021AD))
			break;
		offset += VLAN_TAG_LEN;
		if (data + offset > data_end)
			return -1;
		*protocol = *(__be16 *)(data + offset - sizeof(*protocol));
	}
	return offset;
}

/* XDP comes before the stack's own check; without this one a wrong outer checksum would go unseen. */
static __always_inline int checksum_holds(const struct iphdr *header)
{
	const __u16 *word = (const __u16 *)header;
	__u32 sum = 0;
	int i;

#pragma unroll
	for (i = 0; i < OUTER_LEN / 2; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

/* Whether a whole IPv4 packet, which later steps may trust, begins at outer. */
static __always_inline int outer_ipv4_holds(const struct iphdr *outer, void *data_end)
{
	return outer->version == 4 && outer->ihl == OUTER_LEN / 4 &&
	       !(outer->frag_off & htons(IP_FRAGMENT_BITS)) &&
	       (void *)outer + ntohs(outer->tot_len) <= data_end && checksum_holds(outer);
}

/* The length of all headers before the inner packet, or -1: new kinds of tunnel go here. */
static __always_inline int parse_tunnel(const struct iphdr *outer)
{
	const struct iphdr *inner = (void *)outer + OUTER_LEN;

	switch (outer->protocol) {
	case IPPROTO_IPIP:
		if (inner->version != 4 || ntohs(inner->tot_len) < sizeof(*inner) ||
		    ntohs(inner->tot_len) > ntohs(outer->tot_len) - OUTER_LEN)
			return -1;
		return OUTER_LEN;
	default:
		return -1;
	}
}

int decap(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct tunnel_end end = { .ifindex = ctx->ingress_ifindex };
	struct iphdr *outer;
	__be16 protocol;
	__u16 *word = data;
	int link_len, tunnel_len, i;

	link_len = parse_link(data, data_end, &protocol);
	if (link_len < 0 || protocol != htons(ETH_P_IP))
		return XDP_PASS;
	outer = data + link_len;
	if ((void *)outer + OUTER_LEN + sizeof(struct iphdr) > data_end)
		return XDP_PASS;
	end.address = outer->daddr;
	if (!tunnel_ends.lookup(&end))
		return XDP_PASS;
	if (!outer_ipv4_holds(outer, data_end))
		return XDP_PASS;
	tunnel_len = parse_tunnel(outer);
	if (tunnel_len < 0)
		return XDP_PASS;

	/* Move the link header up to the inner packet, from its end, as the two places may overlap. */
	if (data + LINK_HEADER_MAX + tunnel_len > data_end)
		return XDP_PASS;
#pragma unroll
	for (i = LINK_HEADER_MAX / 2 - 1; i >= 0; i--)
		if (i * 2 < link_len)
			*(__u16 *)((void *)&word[i] + tunnel_len) = word[i];

	if (bpf_xdp_adjust_head(ctx, tunnel_len))
		return XDP_ABORTED; /* cannot be: the packet is longer than that */
	return XDP_PASS;
}
