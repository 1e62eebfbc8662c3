// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The XDP program of a real server: takes off the headers that a balancer has
 * put on, so that the stack sees the client's own packet.
 *
 *	before  Ethernet [VLAN tags] | outer IP | [UDP or GRE] | inner IP | ...
 *	after                            Ethernet [VLAN tags] | inner IP | ...
 *
 * Either family in either, behind nothing else (IP in IP), GUE variant 1 or
 * GRE without options. What is no tunnel packet to an address of ours, or is
 * malformed, goes to the stack as it came: only the stack answers, counts
 * errors and drops.
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

#define GUE_PORT 6080

/*
 * Where tunnels end: our address on an interface, IPv4 as IPv6 writes it
 * (::ffff:a.b.c.d). The interface is part of it so that one program serves
 * several of them, each with its own addresses.
 */
struct tunnel_end {
	__u32 ifindex;
	__be32 address[4];
};

BPF_HASH(tunnel_ends, struct tunnel_end, __u8, 256);

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

/* The protocol in a whole IPv4 packet to one of our tunnel ends, or -1. */
static __always_inline int parse_outer_ipv4(struct cursor *cursor, struct tunnel_end *end)
{
	const struct iphdr *ip = next_header(cursor, sizeof(*ip));

	if (!ip)
		return -1;
	end->address[2] = htonl(0xffff);
	end->address[3] = ip->daddr;
	if (!tunnel_ends.lookup(end))
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
static __always_inline int parse_outer_ipv6(struct cursor *cursor, struct tunnel_end *end)
{
	const struct ipv6hdr *ip = next_header(cursor, sizeof(*ip));

	if (!ip)
		return -1;
	__builtin_memcpy(end->address, &ip->daddr, sizeof(end->address));
	if (!tunnel_ends.lookup(end))
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
static __always_inline __be16 parse_gue(struct cursor *cursor)
{
	const struct udphdr *udp = next_header(cursor, sizeof(*udp) + sizeof(struct iphdr));

	if (!udp || udp->dest != htons(GUE_PORT) || udp->check || ntohs(udp->len) != cursor->length)
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
static __always_inline __be16 parse_tunnel(struct cursor *cursor, int protocol)
{
	switch (protocol) {
	case IPPROTO_IPIP:
		return htons(ETH_P_IP);
	case IPPROTO_IPV6:
		return htons(ETH_P_IPV6);
	case IPPROTO_UDP:
		return parse_gue(cursor);
	case IPPROTO_GRE:
		return parse_gre(cursor);
	default:
		return 0;
	}
}

static __always_inline int inner_ipv4_holds(const struct cursor *cursor)
{
	const struct iphdr *ip = next_header(cursor, sizeof(*ip));

	return ip && ip->version == 4 && ntohs(ip->tot_len) >= (int)sizeof(*ip) &&
	       ntohs(ip->tot_len) <= cursor->length;
}

static __always_inline int inner_ipv6_holds(const struct cursor *cursor)
{
	const struct ipv6hdr *ip = next_header(cursor, sizeof(*ip));

	return ip && ip->version == 6 &&
	       (int)sizeof(*ip) + ntohs(ip->payload_len) <= cursor->length;
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
	struct tunnel_end end = { .ifindex = ctx->ingress_ifindex };
	int link_len, tunnel_len, protocol = -1;
	__be16 type;

	type = parse_link(&cursor);
	link_len = cursor.offset;
	if (type == htons(ETH_P_IP))
		protocol = parse_outer_ipv4(&cursor, &end);
	else if (type == htons(ETH_P_IPV6))
		protocol = parse_outer_ipv6(&cursor, &end);
	type = parse_tunnel(&cursor, protocol);
	if (!(type == htons(ETH_P_IP) && inner_ipv4_holds(&cursor)) &&
	    !(type == htons(ETH_P_IPV6) && inner_ipv6_holds(&cursor)))
		return XDP_PASS;

	tunnel_len = cursor.offset - link_len;
	if (move_link(&cursor, link_len, tunnel_len))
		return XDP_PASS;
	/* The inner packet may be of the other family. */
	*(__be16 *)(cursor.data + cursor.offset - sizeof(type)) = type;
	if (bpf_xdp_adjust_head(ctx, tunnel_len))
		return XDP_ABORTED; /* cannot be: the packet is longer than that */
	return XDP_PASS;
}
