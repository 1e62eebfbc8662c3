/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A received packet: parsing it, its length. */
#pragma once

#define IP_VERSION_AND_LENGTH(ip) (*(__u8 *)(ip))
#define IP_OFFSET_MASK 0x1fff
#define IP_MORE_FRAGMENTS 0x2000

struct packet {
	__be32 source;
	__be32 destination;
	__u32 ports; /* as in the packet: source port, then destination port */
	__u8 protocol;
	__u8 tos;
	__u16 length; /* of the IP packet, in host order; the frame may be padded */
	enum drop defect; /* why it cannot be balanced, if it is to a service */
};

static __always_inline __u32 frame_length(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data;
}

/* Fills `packet`. Less than 0: nothing that could be to a service. A defect
 * leaves `ports` unset; addresses and protocol are right all the same. */
static __always_inline int parse(struct xdp_md *ctx, struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	__u32 header, least;
	__be32 *ports;

	if ((void *)(ip + 1) > end)
		return -1;
	if (eth->h_proto != htons(ETH_P_IP))
		return -1;
	packet->protocol = ip->protocol;
	if (packet->protocol == IPPROTO_TCP)
		least = sizeof(struct tcphdr);
	else if (packet->protocol == IPPROTO_UDP)
		least = sizeof(struct udphdr);
	else
		return -1;
	packet->source = ip->saddr;
	packet->destination = ip->daddr;
	packet->tos = ip->tos;
	packet->length = ntohs(ip->tot_len);

	header = (IP_VERSION_AND_LENGTH(ip) & 0xf) * 4;
	if (IP_VERSION_AND_LENGTH(ip) >> 4 != IPVERSION || header < sizeof(*ip) ||
	    (void *)ip + header > end || (void *)ip + packet->length > end) {
		packet->defect = DROP_MALFORMED;
		return 0;
	}
	if (ip->frag_off & htons(IP_OFFSET_MASK | IP_MORE_FRAGMENTS)) {
		packet->defect = DROP_FRAGMENT;
		return 0;
	}
	ports = (void *)ip + header;
	if (packet->length < header + least || (void *)(ports + 1) > end) {
		packet->defect = DROP_MALFORMED;
		return 0;
	}
	packet->ports = *ports;
	return 0;
}
