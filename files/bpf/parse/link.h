/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Ethernet header and VLAN tags. */
#pragma once

#include "base/kernel.h"
#include "parse/packet.h"

#define VLAN_TAG_LENGTH 4
#define MOST_TAGS 2
#define LINK_HEADERS_MASK 31 /* the EtherType after two tags is at 20 */

struct vlan_tag {
	__be16 protocol;
	__be16 control; /* priority, and the VLAN's number */
};

/* Fills in what Ethernet says, and `family`; less than 0: nothing that could be to a service. */
static __always_inline int parse_link(void *data, void *end, struct packet *packet)
{
	__be16 *type = data + offsetof(struct ethhdr, h_proto);

	if (data + sizeof(struct ethhdr) > end)
		return -1;
	packet->ethertype_at = offsetof(struct ethhdr, h_proto);
	if (*type == htons(ETH_P_8021Q) || *type == htons(ETH_P_8021AD)) {
		type += VLAN_TAG_LENGTH / sizeof(*type);
		if ((void *)(type + 1) > end)
			return -1;
		packet->ethertype_at += VLAN_TAG_LENGTH;
		if (*type == htons(ETH_P_8021Q)) {
			type += VLAN_TAG_LENGTH / sizeof(*type);
			if ((void *)(type + 1) > end)
				return -1;
			packet->ethertype_at += VLAN_TAG_LENGTH;
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
