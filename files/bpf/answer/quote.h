/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ICMP (RFC 792) and ICMPv6 (RFC 4443): pings of a service, errors about its flows, and the
 * balancer's own: packet too big.
 */
#pragma once

#define QUOTE 256 /* bytes of a packet that an error quotes */
#define ICMP_HEADER 8
#define ICMPV6_HEADER 8
#define LEAST_MTU_4 576 /* what every IPv4 host takes (RFC 791) */
#define LEAST_MTU_6 1280 /* and every IPv6 link (RFC 8200) */

static __always_inline __u32 sum_of_address(const struct address *address)
{
	__u32 sum = 0;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++)
		sum += (address->word[i] & 0xffff) + (address->word[i] >> 16);
	return sum;
}

static __always_inline void swap_macs(void *eth)
{
	__u16 mac[ETH_ALEN / 2];

	copy_mac(mac, eth);
	copy_mac(eth, eth + ETH_ALEN);
	copy_mac(eth + ETH_ALEN, mac);
}

/* A header for what the balancer itself sends, `length` bytes of packet in all. */
static __always_inline void write_own_ipv4(struct iphdr *ip, __be32 source, __be32 destination,
					   __u32 length)
{
	__u16 *word = (__u16 *)ip;
	__u32 sum = 0;
	int i;

	FIRST_BYTE(ip) = IPVERSION << 4 | sizeof(*ip) / 4;
	ip->tos = 0;
	ip->tot_len = htons(length);
	ip->id = 0;
	ip->frag_off = htons(IP_DONT_FRAGMENT);
	ip->ttl = OUTER_TTL;
	ip->protocol = IPPROTO_ICMP;
	ip->check = 0;
	ip->saddr = source;
	ip->daddr = destination;
#pragma unroll
	for (i = 0; i < sizeof(*ip) / sizeof(*word); i++)
		sum += word[i];
	ip->check = checksum_of_sum(sum);
}

static __always_inline void write_own_ipv6(struct ipv6hdr *ip, const struct address *source,
					   const struct address *destination, __u32 length)
{
	FIRST_WORD(ip) = htonl(6 << 28);
	ip->payload_len = htons(length - sizeof(*ip));
	ip->nexthdr = IPPROTO_ICMPV6;
	ip->hop_limit = OUTER_TTL;
	copy_address(&ip->saddr, source);
	copy_address(&ip->daddr, destination);
}

/* Answers a ping of a service's address in place: addresses change sides, so the sums stay right
 * but for the type. Of the two zeros of such a checksum receivers take 0xffff always, and 0 only
 * where some word of the message is not zero (RFC 1624, section 3).
 */
static __always_inline int answer_echo(struct xdp_md *ctx, struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	void *network = data + network_offset(packet);
	__u8 *icmp = data + packet->l4;
	__u16 *check = (void *)icmp + offsetof(struct icmphdr, checksum);
	__u8 type;

	if (packet->family == 6) {
		struct ipv6hdr *ip = network;

		if ((void *)(ip + 1) > end)
			return drop(DROP_MALFORMED);
		copy_address(&ip->saddr, &packet->destination);
		copy_address(&ip->daddr, &packet->source);
		ip->hop_limit = OUTER_TTL;
		type = ICMPV6_ECHO_REPLY;
	} else {
		struct iphdr *ip = network;

		if ((void *)(ip + 1) > end)
			return drop(DROP_MALFORMED);
		ip->saddr = packet->destination.word[0];
		ip->daddr = packet->source.word[0];
		ip->check = checksum_after(ip->check, htons(ip->ttl << 8), htons(OUTER_TTL << 8));
		ip->ttl = OUTER_TTL;
		type = ICMP_ECHOREPLY;
	}
	if ((void *)icmp + ICMP_HEADER > end)
		return drop(DROP_MALFORMED);
	*check = checksum_after(*check, htons(*icmp << 8), htons(type << 8));
	if (!*check)
		*check = 0xffff;
	*icmp = type;
	if (data + 2 * ETH_ALEN > end)
		return drop(DROP_MALFORMED);
	swap_macs(data);
	return answered(ANSWER_ECHO_REPLY);
}

/* Whether routers, and so the balancer, may not fragment a packet: DF, or IPv6. */
static __always_inline int is_whole(struct xdp_md *ctx, const struct packet *packet)
{
	struct iphdr *ip = (void *)(long)ctx->data + network_offset(packet);

	if (packet->family == 6)
		return 1;
	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return 0;
	return !!(ip->frag_off & htons(IP_DONT_FRAGMENT));
}

/* Tells the client that at most `mtu` bytes fit. Less than what every host may send is told to
 * nobody: IPv6 hosts would not believe it, and for the others it is not worth it.
 */
static __always_inline int answer_too_big(struct xdp_md *ctx, const struct service_table *table,
					  struct packet *packet, __u32 mtu)
{
	int ipv6 = packet->family == 6;
	__s32 least = ipv6 ? LEAST_MTU_6 : LEAST_MTU_4;
	__u32 added = (ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + ICMP_HEADER;
	void *data, *end, *network;
	__be16 *type;
	__u32 sum;
	int verdict;

	if (!is_whole(ctx, packet) || packet->quotes || (__s32)mtu < least)
		return drop(DROP_TOO_BIG);
	verdict = may_answer(ctx, packet, ANSWER_PACKET_TOO_BIG, table->too_big_rate);
	if (verdict != GO_ON)
		return verdict;
	if (bpf_xdp_adjust_tail(ctx,
				(int)(network_offset(packet) + QUOTE) - (int)frame_length(ctx)))
		return drop(DROP_NO_ROOM);
	if (make_room(ctx, packet, added) != GO_ON)
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	type = data + packet->type;
	network = type + 1;
	if (data + added + sizeof(struct ethhdr) > end)
		return drop(DROP_NO_ROOM);
	copy_mac(data, data + added + ETH_ALEN);
	copy_mac(data + ETH_ALEN, data + added);
	if (ipv6) {
		struct icmp6hdr *icmp = network + sizeof(struct ipv6hdr);

		if ((void *)icmp + ICMPV6_HEADER + QUOTE > end)
			return drop(DROP_NO_ROOM);
		*type = htons(ETH_P_IPV6);
		write_own_ipv6(network, &packet->destination, &packet->source, added + QUOTE);
		icmp->icmp6_type = ICMPV6_PKT_TOOBIG;
		icmp->icmp6_code = 0;
		icmp->icmp6_cksum = 0;
		icmp->icmp6_mtu = htonl(mtu);
		sum = sum_of_address(&packet->source) + sum_of_address(&packet->destination) +
		      htons(ICMPV6_HEADER + QUOTE) + htons(IPPROTO_ICMPV6);
		sum = bpf_csum_diff(NULL, 0, (void *)icmp, ICMPV6_HEADER + QUOTE, sum);
		icmp->icmp6_cksum = checksum_of_sum(sum);
	} else {
		struct icmphdr *icmp = network + sizeof(struct iphdr);

		if ((void *)icmp + ICMP_HEADER + QUOTE > end)
			return drop(DROP_NO_ROOM);
		*type = htons(ETH_P_IP);
		write_own_ipv4(network, packet->destination.word[0], packet->source.word[0],
			       added + QUOTE);
		icmp->type = ICMP_DEST_UNREACH;
		icmp->code = ICMP_FRAG_NEEDED;
		icmp->checksum = 0;
		icmp->un.frag.__unused = 0;
		icmp->un.frag.mtu = htons(mtu);
		sum = bpf_csum_diff(NULL, 0, (void *)icmp, ICMP_HEADER + QUOTE, 0);
		icmp->checksum = checksum_of_sum(sum);
	}
	return answered(ANSWER_PACKET_TOO_BIG);
}

/* Has the kernel find the MAC address of a next hop, which a program cannot ask it to. The packet,
 * which is lost anyway, becomes a ping from the backend to the host; to answer it the kernel must
 * resolve the way to the backend.
 */
static __always_inline int have_resolved(struct xdp_md *ctx, const struct service_table *table,
					 struct packet *packet, struct backend *backend)
{
	int ipv6 = backend->flags & BACKEND_IPV6;
	__u32 header = ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	__u32 length = header + ICMP_HEADER;
	struct icmphdr *icmp;
	void *data, *end, *network;
	__be16 *type;
	__u32 sum;

	if (!(ipv6 ? table->ipv6.word[0] : table->ipv4.word[0]))
		return XDP_DROP;
	if (bpf_xdp_adjust_tail(ctx,
				(int)(network_offset(packet) + length) - (int)frame_length(ctx)))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	type = data + packet->type;
	network = type + 1;
	icmp = network + header;
	if (network + header + ICMP_HEADER > end)
		return XDP_DROP;
	icmp->code = 0;
	icmp->checksum = 0;
	icmp->un.echo.id = 0;
	icmp->un.echo.sequence = 0;
	if (ipv6) {
		if (network + sizeof(struct ipv6hdr) > end)
			return XDP_DROP;
		*type = htons(ETH_P_IPV6);
		write_own_ipv6(network, &backend->destination, &table->ipv6, length);
		icmp->type = ICMPV6_ECHO_REQUEST;
		sum = sum_of_address(&backend->destination) + sum_of_address(&table->ipv6) +
		      htons(ICMPV6_HEADER) + htons(IPPROTO_ICMPV6) +
		      htons(ICMPV6_ECHO_REQUEST << 8);
	} else {
		if (network + sizeof(struct iphdr) > end)
			return XDP_DROP;
		*type = htons(ETH_P_IP);
		write_own_ipv4(network, backend->destination.word[0], table->ipv4.word[0], length);
		icmp->type = ICMP_ECHO;
		sum = htons(ICMP_ECHO << 8);
	}
	icmp->checksum = checksum_of_sum(sum);
	return XDP_PASS;
}

static __always_inline int is_error(const struct packet *packet, __u8 type)
{
	if (packet->family == 6)
		return type >= ICMPV6_DEST_UNREACH && type <= ICMPV6_PARAMPROB;
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETERPROB;
}

/* Whether a packet is an ICMP message that can be read. */
static __always_inline int is_icmp(struct xdp_md *ctx, const struct packet *packet)
{
	void *icmp = (void *)(long)ctx->data + packet->l4;

	return packet->protocol == (packet->family == 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) &&
	       !packet->defect && !packet->fragment &&
	       icmp + ICMP_HEADER <= (void *)(long)ctx->data_end &&
	       packet->l4 + ICMP_HEADER <= network_offset(packet) + packet->length;
}

/* Looks into an ICMP message to an address that has services. A ping is answered. An error about
 * what a backend sent becomes part of the flow that it quotes: of the quoted packet, source and
 * destination have changed sides. All else stays as it is.
 */
static __always_inline int look_into_icmp(struct xdp_md *ctx, const struct service_table *table,
					  struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u8 *icmp = data + packet->l4;
	struct packet quoted = {};
	int result = -1, verdict;
	__u8 type;

	if ((void *)icmp + ICMP_HEADER > end)
		return GO_ON;
	packet->forged = is_bad_source(packet);
	FORGET(packet->forged, ctx->ingress_ifindex);
	type = *icmp;
	if (type == (packet->family == 6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO)) {
		if (packet->forged)
			return drop(DROP_BAD_SOURCE);
		verdict = may_answer(ctx, packet, ANSWER_ECHO_REPLY, table->echo_rate);
		return verdict == GO_ON ? answer_echo(ctx, packet) : verdict;
	}
	if (!is_error(packet, type))
		return GO_ON;
#ifdef WITH_IPV4
	if (packet->family == 4)
		result = parse_ipv4(data, end, packet->l4 + ICMP_HEADER, &quoted, 1);
#endif
#ifdef WITH_IPV6
	if (packet->family == 6)
		result = parse_ipv6(data, end, packet->l4 + ICMPV6_HEADER, &quoted, 1);
#endif
	if (result < 0 || quoted.fragment ||
	    (quoted.protocol != IPPROTO_TCP && quoted.protocol != IPPROTO_UDP))
		return GO_ON;
	parse_ports(data, end, &quoted, 1);
	if (quoted.l4 + ICMP_HEADER > network_offset(packet) + packet->length)
		return GO_ON; /* it reaches into the padding */
	if (quoted.defect || difference(packet, &quoted.source, &packet->destination))
		return GO_ON;
	packet->source = quoted.destination;
	packet->ports = quoted.ports >> 16 | quoted.ports << 16;
	packet->protocol = quoted.protocol;
	packet->quotes = 1;
	return GO_ON;
}
