// SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The XDP program of a real server: takes off the headers that a balancer has
 * put on, so that the stack sees the client's own packet.
 *
 *	before  Ethernet [VLAN tags] | outer IP | [UDP or GRE] | inner IP | ...
 *	after                            Ethernet [VLAN tags] | inner IP | ...
 *
 * Either family in either, behind nothing else (IP in IP), GUE variant 1 or
 * GRE without options. Only balancers are unpacked for, and only packets to a
 * VIP: who else could have a packet unpacked could give it any source, past
 * every filter on the way. What is no tunnel packet of a balancer to an
 * address of ours, is for no VIP, or is malformed, goes to the stack as it
 * came: only the stack answers, counts errors and drops.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/udp.h>

#define VLAN_TAGS_MAX 2
#define VLAN_TAG_LEN 4
#define LINK_HEADER_MAX (ETH_HLEN + VLAN_TAGS_MAX * VLAN_TAG_LEN)

/* The balancer sends neither options nor fragments, so neither is a tunnel packet here. */
#define OUTER_IPV4_LEN ((int)sizeof(struct iphdr))
#define IP_FRAGMENT_BITS 0x3fff /* more fragments, and the offset */

/*
 * An address, IPv4 as IPv6 writes it (::ffff:a.b.c.d). The interface is part
 * of it so that one program serves several of them, each with its own.
 */
struct address_at {
	__u32 ifindex;
	__be32 address[4];
};

/* The first so many bits of one: all 32 of the interface, then 96 more for IPv4. */
struct prefix_at {
	__u32 length;
	struct address_at start;
};

#define WHOLE_ADDRESS (8 * sizeof(struct address_at))

/* Our addresses where tunnels end, and the UDP port of GUE there. */
BPF_HASH(tunnel_ends, struct address_at, __be16, 256);

/* Who is unpacked for. A prefix without a bit of the address is everyone. */
BPF_LPM_TRIE(balancers, struct prefix_at, __u8, 1024);

/* What clients talk to: where packets that are unpacked may go. */
BPF_LPM_TRIE(vips, struct prefix_at, __u8, 4096);

/* What became of tunnel packets to us. */
enum event {
	UNPACKED,
	NOT_A_BALANCER, /* the outer source */
	NOT_A_VIP, /* the inner destination */
	EVENTS,
};

BPF_PERCPU_ARRAY(events, __u64, EVENTS);

struct gre_header {
	__be16 flags;
	__be16 protocol;
};

/* How far a packet is parsed, header by header. */
struct cursor {
	void *data;
	void *data_end;
	int offset; /* of the next header */
	int length; /* of all that follows, as the last header has it: never beyond data_end */
};

/* The outer header, as far as it matters. */
struct outer {
	struct prefix_at source;
	struct address_at destination;
	__be16 gue_port;
};

/* Counts what becomes of a packet, which the stack gets in any case. */
static __always_inline int pass_as(enum event event)
{
	int index = event;
	__u64 *count = events.lookup(&index);

	if (count)
		*count += 1;
	return XDP_PASS;
}

/* What comes next, if there are so many bytes of it. */
static __always_inline void *next_header(const struct cursor *cursor, int size)
{
	void *header = cursor->data + cursor->offset;

	return header + size <= cursor->data_end ? header : NULL;
}

static __always_inline void skip(struct cursor *cursor, int size)
{
	cursor->offset += size;
	cursor->length -= size;
}

/* The EtherType that the last tag announces, or 0. */
static __always_inline __be16 parse_link(struct cursor *cursor)
{
	const struct ethhdr *eth = next_header(cursor, ETH_HLEN);
	const __be16 *type;
	int i;

	if (!eth)
		return 0;
	type = &eth->h_proto;
	cursor->offset = ETH_HLEN;
#pragma unroll
	for (i = 0; i < VLAN_TAGS_MAX; i++) {
		if (*type != htons(ETH_P_8021Q) && *type != htons(ETH_P_8021AD))
			break;
		if (!next_header(cursor, VLAN_TAG_LEN))
			return 0;
		type += VLAN_TAG_LEN / sizeof(*type);
		cursor->offset += VLAN_TAG_LEN;
	}
	return *type;
}

/* XDP comes before the stack's own check; without this one a wrong outer checksum would go unseen. */
static __always_inline int checksum_holds(const struct iphdr *header)
{
	const __u16 *word = (const __u16 *)header;
	__u32 sum = 0;
	int i;

#pragma unroll
	for (i = 0; i < OUTER_IPV4_LEN / 2; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

static __always_inline void set_ipv4(struct address_at *at, __be32 address)
{
	at->address[2] = htonl(0xffff);
	at->address[3] = address;
}

static __always_inline void set_ipv6(struct address_at *at, const struct in6_addr *address)
{
	__builtin_memcpy(at->address, address, sizeof(at->address));
}

/* Whether a tunnel ends at the destination. */
static __always_inline int find_tunnel_end(struct outer *outer)
{
	const __be16 *gue_port = tunnel_ends.lookup(&outer->destination);

	if (!gue_port)
		return 0;
	outer->gue_port = *gue_port;
	return 1;
}

/* The protocol in a whole IPv4 packet to one of our tunnel ends, or -1. */
static __always_inline int parse_outer_ipv4(struct cursor *cursor, struct outer *outer)
{
	const struct iphdr *ip = next_header(cursor, sizeof(*ip));

	if (!ip)
		return -1;
	set_ipv4(&outer->source.start, ip->saddr);
	set_ipv4(&outer->destination, ip->daddr);
	if (!find_tunnel_end(outer))
		return -1;
	if (ip->version != 4 || ip->ihl != OUTER_IPV4_LEN / 4 ||
	    (ip->frag_off & htons(IP_FRAGMENT_BITS)) || !checksum_holds(ip))
		return -1;
	cursor->length = ntohs(ip->tot_len);
	if (ntohs(ip->tot_len) > cursor->data_end - (void *)ip)
		return -1;
	skip(cursor, sizeof(*ip));
	return ip->protocol;
}

/* The same for IPv6. */
static __always_inline int parse_outer_ipv6(struct cursor *cursor, struct outer *outer)
{
	const struct ipv6hdr *ip = next_header(cursor, sizeof(*ip));

	if (!ip)
		return -1;
	set_ipv6(&outer->source.start, &ip->saddr);
	set_ipv6(&outer->destination, &ip->daddr);
	if (!find_tunnel_end(outer))
		return -1;
	if (ip->version != 6)
		return -1;
	cursor->length = sizeof(*ip) + ntohs(ip->payload_len);
	if (ntohs(ip->payload_len) > cursor->data_end - (void *)(ip + 1))
		return -1;
	skip(cursor, sizeof(*ip));
	return ip->nexthdr;
}

/*
 * The EtherType of what follows GUE, or 0. Variant 1 is UDP alone: where the
 * header of GUE would be, the version of IP says that there is none. Only the
 * stack verifies a checksum of UDP, so there must be none either.
 */
static __always_inline __be16 parse_gue(struct cursor *cursor, __be16 port)
{
	const struct udphdr *udp = next_header(cursor, sizeof(*udp) + sizeof(struct iphdr));

	if (!udp || udp->dest != port || udp->check || ntohs(udp->len) != cursor->length)
		return 0;
	skip(cursor, sizeof(*udp));
	switch (((const struct iphdr *)(udp + 1))->version) {
	case 4:
		return htons(ETH_P_IP);
	case 6:
		return htons(ETH_P_IPV6);
	default:
		return 0;
	}
}

/* The same for GRE without options: no checksum, key or sequence number (RFC 2784). */
static __always_inline __be16 parse_gre(struct cursor *cursor)
{
	const struct gre_header *gre = next_header(cursor, sizeof(*gre));

	if (!gre || gre->flags)
		return 0;
	skip(cursor, sizeof(*gre));
	return gre->protocol;
}

/* The EtherType of the inner packet, or 0: new kinds of tunnel go here. */
static __always_inline __be16 parse_tunnel(struct cursor *cursor, int protocol, __be16 gue_port)
{
	switch (protocol) {
	case IPPROTO_IPIP:
		return htons(ETH_P_IP);
	case IPPROTO_IPV6:
		return htons(ETH_P_IPV6);
	case IPPROTO_UDP:
		return parse_gue(cursor, gue_port);
	case IPPROTO_GRE:
		return parse_gre(cursor);
	default:
		return 0;
	}
}

/* Takes the destination from the inner header; -1 if that is malformed. */
static __always_inline int parse_inner_ipv4(const struct cursor *cursor, struct address_at *vip)
{
	const struct iphdr *ip = next_header(cursor, sizeof(*ip));

	if (!ip || ip->version != 4 || ntohs(ip->tot_len) < (int)sizeof(*ip) ||
	    ntohs(ip->tot_len) > cursor->length)
		return -1;
	set_ipv4(vip, ip->daddr);
	return 0;
}

/* The same for IPv6. */
static __always_inline int parse_inner_ipv6(const struct cursor *cursor, struct address_at *vip)
{
	const struct ipv6hdr *ip = next_header(cursor, sizeof(*ip));

	if (!ip || ip->version != 6 || (int)sizeof(*ip) + ntohs(ip->payload_len) > cursor->length)
		return -1;
	set_ipv6(vip, &ip->daddr);
	return 0;
}

static __always_inline int parse_inner(const struct cursor *cursor, __be16 type,
				       struct address_at *vip)
{
	switch (type) {
	case htons(ETH_P_IP):
		return parse_inner_ipv4(cursor, vip);
	case htons(ETH_P_IPV6):
		return parse_inner_ipv6(cursor, vip);
	default:
		return -1;
	}
}

/* Copies the link header to `offset` bytes after its place, from its end, as the two may overlap. */
static __always_inline int move_link(const struct cursor *cursor, int link_len, int offset)
{
	const __u16 *from = cursor->data;
	__u16 *to = cursor->data + offset;
	int i;

	if ((void *)to + LINK_HEADER_MAX > cursor->data_end)
		return -1;
#pragma unroll
	for (i = LINK_HEADER_MAX / 2 - 1; i >= 0; i--)
		if (i * 2 < link_len)
			to[i] = from[i];
	return 0;
}

int decap(struct xdp_md *ctx)
{
	struct cursor cursor = { .data = (void *)(long)ctx->data,
				 .data_end = (void *)(long)ctx->data_end };
	struct address_at here = { .ifindex = ctx->ingress_ifindex };
	struct outer outer = { .source = { WHOLE_ADDRESS, here }, .destination = here };
	struct prefix_at vip = { WHOLE_ADDRESS, here };
	int link_len, tunnel_len, protocol = -1;
	__be16 type;

	type = parse_link(&cursor);
	link_len = cursor.offset;
	if (type == htons(ETH_P_IP))
		protocol = parse_outer_ipv4(&cursor, &outer);
	else if (type == htons(ETH_P_IPV6))
		protocol = parse_outer_ipv6(&cursor, &outer);
	type = parse_tunnel(&cursor, protocol, outer.gue_port);
	if (parse_inner(&cursor, type, &vip.start))
		return XDP_PASS;
	if (!balancers.lookup(&outer.source))
		return pass_as(NOT_A_BALANCER);
	if (!vips.lookup(&vip))
		return pass_as(NOT_A_VIP);

	tunnel_len = cursor.offset - link_len;
	if (move_link(&cursor, link_len, tunnel_len))
		return XDP_PASS;
	/* The inner packet may be of the other family. */
	*(__be16 *)(cursor.data + cursor.offset - sizeof(type)) = type;
	if (bpf_xdp_adjust_head(ctx, tunnel_len))
		return XDP_ABORTED; /* cannot be: the packet is longer than that */
	return pass_as(UNPACKED);
}
