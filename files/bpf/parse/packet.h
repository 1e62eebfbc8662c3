/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A received packet: parsing it, its length. */
#pragma once

#define VLAN_TAG_LENGTH 4
#define IP_OFFSET_MASK 0x1fff
#define IP_MORE_FRAGMENTS 0x2000
#define IP_DONT_FRAGMENT 0x4000
#define IP6_OFFSET_MASK 0xfff8
#define IP6_MORE_FRAGMENTS 0x0001
#define IP6_CHAIN_LENGTH 8 /* extension headers that are skipped at the most */
#define IP_HEADERS_LENGTH 2047 /* and how far into a frame they may reach */
#define LINK_HEADERS_MASK 31 /* the EtherType after two tags is at 20 */
#define TCP_FLAGS_OFFSET 13
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define FIRST_BYTE(header) (*(__u8 *)(header))
#define FIRST_WORD(header) (*(__be32 *)(header))

static __always_inline void copy_mac(void *to, const void *from)
{
	*(__u32 *)to = *(__u32 *)from;
	*(__u16 *)(to + 4) = *(__u16 *)(from + 4);
}

/* The six bytes of a MAC address, in memory order; the two behind them are read, too. */
static __always_inline __u64 mac_at(const void *mac)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return *(const __u64 *)mac << 16 >> 16;
#else
	return *(const __u64 *)mac >> 16 << 16;
#endif
}

/* Multicast or broadcast, which no frame can come from. */
static __always_inline int is_group(const void *mac)
{
	return *(const __u8 *)mac & 1;
}

struct address {
	union {
		__be32 word[4]; /* IPv4 in the first, the others 0 */
		__u64 half[2]; /* IPv6, in as few steps as there can be */
	};
};

static __always_inline void copy_address(void *to, const void *from)
{
	((__u64 *)to)[0] = ((const __u64 *)from)[0];
	((__u64 *)to)[1] = ((const __u64 *)from)[1];
}

struct packet {
	struct address source; /* the client */
	struct address destination;
	__u32 ports; /* as in the packet: source port, then destination port */
	__u16 type; /* offset of the EtherType, after up to two VLAN tags; then comes the IP header */
	__u16 length; /* of the IP packet, in host order; the frame may be padded */
	__u8 family; /* 4 or 6 */
	__u8 protocol; /* of the transport header */
	__u8 tos; /* or traffic class */
	__u8 tcp_flags;
	__u8 fragment; /* has no ports, or its other fragments have none */
	__u8 quotes; /* an ICMP error: ports and so on are those of the flow that it quotes */
	__u8 routed; /* by the sender: IPv6, and hops are left that it wants to be taken */
	__u8 forged; /* an ICMP message from a source that no host has */
	__u32 l4; /* offset of the transport header */
	enum drop defect; /* why it cannot be balanced, if it is to a service */
};

/* The barrier keeps the compiler from arithmetic with the end alone, which the verifier refuses. */
static __always_inline __u32 frame_length(struct xdp_md *ctx)
{
	long length = (long)ctx->data_end - (long)ctx->data;

	asm volatile("" : "+r"(length));
	return length;
}

static __always_inline int is_tagged(const struct packet *packet)
{
	return packet->type != offsetof(struct ethhdr, h_proto);
}

static __always_inline __u32 network_offset(const struct packet *packet)
{
	return packet->type + sizeof(__be16);
}

/* Fills in what Ethernet says, and `family`; less than 0: nothing that could be to a service. */
static __always_inline int parse_link(void *data, void *end, struct packet *packet)
{
	__be16 *type = data + offsetof(struct ethhdr, h_proto);

	if (data + sizeof(struct ethhdr) > end)
		return -1;
	packet->type = offsetof(struct ethhdr, h_proto);
	if (*type == htons(ETH_P_8021Q) || *type == htons(ETH_P_8021AD)) {
		type += VLAN_TAG_LENGTH / sizeof(*type);
		if ((void *)(type + 1) > end)
			return -1;
		packet->type += VLAN_TAG_LENGTH;
		if (*type == htons(ETH_P_8021Q)) {
			type += VLAN_TAG_LENGTH / sizeof(*type);
			if ((void *)(type + 1) > end)
				return -1;
			packet->type += VLAN_TAG_LENGTH;
		}
	}
#ifdef WITH_IPV4
	if (*type == htons(ETH_P_IP)) {
		packet->family = 4;
		return 0;
	}
#endif
#ifdef WITH_IPV6
	if (*type == htons(ETH_P_IPV6)) {
		packet->family = 6;
		return 0;
	}
#endif
	return -1;
}

/* Fills in the IPv4 header at `offset`; less than 0: nothing that could be to a service. Of a
 * `quoted` packet only the head is there, so its length means nothing; but a first fragment is as
 * good as a whole packet, for it has the ports.
 */
static __always_inline int parse_ipv4(void *data, void *end, __u32 offset, struct packet *packet,
				      int quoted)
{
	struct iphdr *ip = data + offset;
	__u16 is_fragment = quoted ? IP_OFFSET_MASK : IP_OFFSET_MASK | IP_MORE_FRAGMENTS;
	__u32 header;

	if ((void *)(ip + 1) > end)
		return -1;
	packet->protocol = ip->protocol;
	packet->source.word[0] = ip->saddr;
	packet->destination.word[0] = ip->daddr;
	header = (FIRST_BYTE(ip) & 0xf) * 4;
	packet->l4 = offset + header;
	if (!quoted) {
		packet->tos = ip->tos;
		packet->length = ntohs(ip->tot_len);
		if (packet->length > end - (void *)ip)
			packet->defect = DROP_MALFORMED;
	}
	if (FIRST_BYTE(ip) >> 4 != IPVERSION || header < sizeof(*ip) || (void *)ip + header > end)
		packet->defect = DROP_MALFORMED;
	packet->fragment = !!(ip->frag_off & htons(is_fragment));
	return 0;
}

#ifdef WITH_IPV6
static __always_inline int is_extension_header(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_FRAGMENT || protocol == IPPROTO_AH ||
	       protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_MH;
}

/* The same for IPv6 (RFC 8200), extension headers included. */
static __always_inline int parse_ipv6(void *data, void *end, __u32 offset, struct packet *packet,
				      int quoted)
{
	__u16 is_fragment = quoted ? IP6_OFFSET_MASK : IP6_OFFSET_MASK | IP6_MORE_FRAGMENTS;
	struct ipv6hdr *ip = data + offset;
	__u8 next, *header;
	__u32 length;
	int i;

	if ((void *)(ip + 1) > end)
		return -1;
	copy_address(&packet->source, &ip->saddr);
	copy_address(&packet->destination, &ip->daddr);
	if (!quoted) {
		packet->tos = ntohl(FIRST_WORD(ip)) >> 20;
		length = ntohs(ip->payload_len) + sizeof(*ip);
		packet->length = length;
		if (length > end - (void *)ip || length > 0xffff)
			packet->defect = DROP_MALFORMED;
	}
	if (FIRST_BYTE(ip) >> 4 != 6)
		packet->defect = DROP_MALFORMED;
	next = ip->nexthdr;
	length = offset + sizeof(*ip);
	for (i = 0; i < IP6_CHAIN_LENGTH && is_extension_header(next); i++) {
		FORGET(length, FIRST_WORD(ip));
		if (length > IP_HEADERS_LENGTH) {
			packet->defect = DROP_MALFORMED;
			break;
		}
		header = data + length;
		if (header + 8 > (__u8 *)end) {
			packet->defect = DROP_MALFORMED;
			break;
		}
		if (!quoted && length + 8 > offset + packet->length)
			packet->defect = DROP_MALFORMED; /* what follows still tells the protocol */
		if (next == IPPROTO_FRAGMENT) {
			if (*(__be16 *)(header + 2) & htons(is_fragment))
				packet->fragment = 1;
			next = header[0];
			length += 8;
			if (packet->fragment)
				break; /* what follows may be no header, or lack its end */
		} else if (next == IPPROTO_AH) {
			next = header[0];
			length += (header[1] + 2) * 4;
		} else {
			if (next == IPPROTO_ROUTING &&
			    ((struct ipv6_rt_hdr *)header)->segments_left)
				packet->routed = 1;
			next = header[0];
			length += (header[1] + 1) * 8;
		}
	}
	if (is_extension_header(next) && !packet->fragment)
		packet->defect = DROP_MALFORMED;
	packet->protocol = next;
	FORGET(length, FIRST_WORD(ip));
	if (length > IP_HEADERS_LENGTH)
		packet->defect = DROP_MALFORMED;
	packet->l4 = length & IP_HEADERS_LENGTH;
	return 0;
}
#endif

static __always_inline __u8 tcp_flags_of(const void *tcp)
{
	return ((const __u8 *)tcp)[TCP_FLAGS_OFFSET];
}

/* Whether a packet opens a TCP connection. */
static __always_inline int is_opening(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Fills in the ports, if the packet has them and is TCP or UDP, as it must be. */
static __always_inline void parse_ports(void *data, void *end, struct packet *packet, int quoted)
{
	__u32 least =
		packet->protocol == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);
	__be32 *ports = data + packet->l4;

	if (packet->defect || packet->fragment)
		return;
	if ((void *)ports + sizeof(struct udphdr) > end) {
		packet->defect = DROP_MALFORMED;
		return;
	}
	packet->ports = *ports;
	if (quoted)
		return;
	if (packet->l4 - network_offset(packet) + least > packet->length)
		packet->defect = DROP_MALFORMED;
	else if (packet->protocol == IPPROTO_TCP && (void *)ports + sizeof(struct tcphdr) <= end)
		packet->tcp_flags = tcp_flags_of(ports);
}

/* Fills `packet` if the frame is as nearly all are: untagged, IP without options or extension
 * headers, a whole TCP or UDP packet. Constant offsets make this several times as fast as parse(),
 * to which everything else is left. 0: that one must look.
 */
static __always_inline int parse_plain(struct xdp_md *ctx, struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__be16 *type = data + offsetof(struct ethhdr, h_proto);
	void *network = type + 1;
	__u32 header, least;
	void *transport;

	if (data + sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct udphdr) > end)
		return 0;
	packet->type = offsetof(struct ethhdr, h_proto);
#ifdef WITH_IPV4
	if (*type == htons(ETH_P_IP)) {
		struct iphdr *ip = network;

		if (FIRST_BYTE(ip) != (IPVERSION << 4 | sizeof(*ip) / 4) ||
		    ip->frag_off & htons(IP_OFFSET_MASK | IP_MORE_FRAGMENTS))
			return 0;
		packet->family = 4;
		packet->protocol = ip->protocol;
		packet->tos = ip->tos;
		packet->length = ntohs(ip->tot_len);
		packet->source.word[0] = ip->saddr;
		packet->destination.word[0] = ip->daddr;
		header = sizeof(*ip);
		goto found;
	}
#endif
#ifdef WITH_IPV6
	if (*type == htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = network;

		if ((void *)(ip + 1) + sizeof(struct udphdr) > end || FIRST_BYTE(ip) >> 4 != 6)
			return 0;
		packet->family = 6;
		packet->protocol = ip->nexthdr;
		packet->tos = ntohl(FIRST_WORD(ip)) >> 20;
		packet->length = ntohs(ip->payload_len) + sizeof(*ip);
		if (packet->length < sizeof(*ip))
			return 0;
		copy_address(&packet->source, &ip->saddr);
		copy_address(&packet->destination, &ip->daddr);
		header = sizeof(*ip);
		goto found;
	}
#endif
	return 0;

found:
	transport = network + header;
	if (packet->protocol == IPPROTO_TCP)
		least = sizeof(struct tcphdr);
	else if (packet->protocol == IPPROTO_UDP)
		least = sizeof(struct udphdr);
	else
		return 0;
	if (packet->length < header + least || packet->length > end - network)
		return 0;
	packet->ports = *(__u32 *)transport;
#ifdef WITH_FLOW_TABLE
	if (least == sizeof(struct tcphdr) && transport + sizeof(struct tcphdr) <= end)
		packet->tcp_flags = tcp_flags_of(transport);
#endif
	return 1;
}

/* All packets are the same to the verifier from here on. */
static __always_inline void forget_path(struct xdp_md *ctx, struct packet *packet)
{
	__u32 unknown = ctx->ingress_ifindex;

	FORGET(packet->type, unknown);
	FORGET(packet->l4, unknown);
	FORGET(packet->length, unknown);
	FORGET(packet->protocol, unknown);
	FORGET(packet->fragment, unknown);
	FORGET(packet->defect, unknown);
	FORGET(packet->routed, unknown);
	packet->type &= LINK_HEADERS_MASK;
	packet->l4 &= IP_HEADERS_LENGTH;
}

/* Fills `packet` but for the ports. Less than 0: nothing that could be to a service. Addresses and
 * protocol are right even with a defect.
 */
static __always_inline int parse_headers(struct xdp_md *ctx, struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	int result = -1;

	if (parse_link(data, end, packet) < 0)
		return -1;
#ifdef WITH_IPV4
	if (packet->family == 4)
		result = parse_ipv4(data, end, network_offset(packet), packet, 0);
#endif
#ifdef WITH_IPV6
	if (packet->family == 6)
		result = parse_ipv6(data, end, network_offset(packet), packet, 0);
#endif
	if (result < 0)
		return result;
	forget_path(ctx, packet);
	return result;
}
