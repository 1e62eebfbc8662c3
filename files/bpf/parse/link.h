/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Ethernet header and VLAN tags. */
#pragma once

#include "base/kernel.h"
#include "parse/cursor.h"
#include "parse/packet.h"

#define VLAN_TAG_LENGTH 4
#define MOST_TAGS 2
#define LINK_HEADERS_MASK 31 /* the EtherType after two tags is at 20 */

struct vlan_tag {
	__be16 protocol;
	__be16 control; /* priority 0, and the VLAN's number */
};

/* Fills in what Ethernet says, and `family`; 0: nothing that could be to a service. */
static __always_inline int parse_link(struct cursor *cursor, struct packet *packet)
{
	const __be16 *type = next_header(cursor) + offsetof(struct ethhdr, h_proto);

	if (!is_there(cursor, sizeof(struct ethhdr)))
		return 0;
	cursor->offset += sizeof(struct ethhdr);
	if (*type == htons(ETH_P_8021Q) || *type == htons(ETH_P_8021AD)) {
		if (!is_there(cursor, VLAN_TAG_LENGTH))
			return 0;
		cursor->offset += VLAN_TAG_LENGTH;
		type += VLAN_TAG_LENGTH / sizeof(*type);
		if (*type == htons(ETH_P_8021Q)) {
			if (!is_there(cursor, VLAN_TAG_LENGTH))
				return 0;
			cursor->offset += VLAN_TAG_LENGTH;
			type += VLAN_TAG_LENGTH / sizeof(*type);
		}
	}
	packet->ethertype_at = cursor->offset - sizeof(*type);
#ifdef WITH_IPV4
	if (*type == htons(ETH_P_IP)) {
		packet->family = 4;
		return 1;
	}
#endif
#ifdef WITH_IPV6
	if (*type == htons(ETH_P_IPV6)) {
		packet->family = 6;
		return 1;
	}
#endif
	return 0;
}
