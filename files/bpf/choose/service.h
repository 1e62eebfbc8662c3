/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Services, and the lookup table of each: which backend a new flow is for. */
#pragma once

#include "base/kernel.h"
#include "base/maps.h"
#include "parse/address.h"
#include "parse/ipv6.h"
#include "parse/packet.h"
#include "choose/hash.h"

#define VLAN_ID_MASK 0x0fff
#define SERVICE_BITS 15
#define SERVICE_SLOTS (1 << SERVICE_BITS)
#define SERVICE_PROBES 32
#define TABLE_SLOTS 65537
#define JHASH_SLOTS 512 /* other schedulers have more */

#define SERVICE_ADDRESS_ONLY 1 /* marks an address and protocol; it has the backends of a service */
#define SERVICE_JHASH 2
#define SERVICE_BY_SOURCE 4 /* affinity: all flows of a client are for one backend */
#define SERVICE_FLOW_TABLE 8
#define SERVICE_SETTLED 16 /* `choice` is the one backend that flows can have, or 0 */
#define SERVICE_SECOND 64 /* its backends' second records are in use; also that one's offset */

/* Marks an address that has services of any protocol. */
#define PROTOCOL_ANY IPPROTO_ICMP

struct service {
	struct address address;
	__be16 port; /* 0: every port */
	__u8 protocol; /* 0: the slot is empty */
	__u8 family; /* 4 or 6 */
	__u16 id; /* of its counters and flows */
	__u16 choice; /* index in lookup_tables; or the one backend, see SERVICE_SETTLED */
	__u16 flags;
	__u16 udp_timeout; /* seconds after which a silent UDP flow is forgotten */
	__u32 padding;
};
ASSERT_SIZE(struct service, 32);

#define OWN_MACS 64
#define VLANS 4096
#define TABLE_DROPS_NO_SERVICE 1

/* What holds for every packet, then the services: a hash table with open addressing that user space
 * builds. A service is found within SERVICE_PROBES slots from the one its key hashes to, and before
 * the first empty one. None of it is ever changed in place.
 */
struct service_table {
	__u32 layout; /* the version of all that is shared with user space */
	__u32 generation;
	__u32 manifest; /* id of the map that says what user space knows of all this */
	__u32 flags;
	__u64 seed; /* of hashes: here, not in a service, so that hashing need not wait for one */
	__u32 echo_rate; /* answers a second and CPU */
	__u32 too_big_rate;
	__u64 own_macs[OWN_MACS]; /* of frames to the balancer, in six bytes each */
	__u32 health; /* id of a map, as manifest, of what checks have found; 0: nothing */
	__u32 padding[7]; /* slots lie within cache lines */
	__u32 receivers[VLANS + OWN_MACS]; /* interfaces, by VLAN, then by place in own_macs */
	struct service slots[SERVICE_SLOTS];
};
ASSERT_SIZE(struct service_table, 17216 + 32 * SERVICE_SLOTS);

/* The interface by which the host's stack receives what is to the interface itself, with the frame's
 * VLAN tag or without: a VLAN device, or the bridge that one is a port of; 0: the host has none.
 */
static __always_inline __u32 vlan_receiver(struct xdp_md *ctx, const struct service_table *table,
					   const struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	__u32 vlan = 0;

	if (is_tagged(packet)) {
		if (data + sizeof(struct ethhdr) + sizeof(__be16) > (void *)(long)ctx->data_end)
			return 0;
		vlan = ntohs(*(__be16 *)(data + sizeof(struct ethhdr)));
		/* masked when it is in host order: Linux 6.1 loses sight of bounds at the swap */
		asm volatile("" : "+r"(vlan));
		vlan &= VLAN_ID_MASK;
	}
	return table->receivers[vlan];
}

/* Slot -> number of a backend, or 0 where there is none, in 16 bits each. A table in use is never
 * written: a service is given another one. To bcc it is a string, see TABLE_OF.
 */
struct lookup_table {
	__u8 slots[2 * TABLE_SLOTS];
};
ASSERT_SIZE(struct lookup_table, 131074);

TABLE_OF(struct service_table, services, 1);
TABLE("array", struct lookup_table, lookup_tables, LOOKUP_TABLES);

/* Port, protocol and family as one word, to compare them at once; 0 is an empty slot. */
static __always_inline __u64 endpoint_of(const struct service *service)
{
	return *(const __u32 *)&service->port;
}

/* The same of a packet. */
static __always_inline __u64 endpoint(__be16 port, __u8 protocol, __u8 family)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return port | (__u64)protocol << 16 | (__u64)family << 24;
#else
	return (__u64)port << 16 | (__u64)protocol << 8 | family;
#endif
}

/* 0 if both are the same; of one family. */
static __always_inline __u64 difference(const struct packet *packet, const struct address *a,
					const struct address *b)
{
	__u64 bits = a->word[0] ^ b->word[0];

#ifdef WITH_IPV6
	if (packet->family == 6)
		bits = (a->half[0] ^ b->half[0]) | (a->half[1] ^ b->half[1]);
#endif
	return bits;
}

/* The current one. */
static __always_inline struct service_table *find_service_table(void)
{
	__u32 zero = 0;
	void *map = services.lookup(&zero);

	return map ? bpf_map_lookup_elem(map, &zero) : NULL;
}

static __always_inline struct service *find_service_key(struct service_table *table,
							const struct packet *packet, __be16 port,
							__u8 protocol)
{
	const struct address *address = &packet->destination;
	__u64 wanted = endpoint(port, protocol, packet->family);
	__u64 hash = address->word[0];
	struct service *service;
	__u64 slot, i;

#ifdef WITH_IPV6
	if (packet->family == 6)
		hash = address->half[0] + address->half[1] * 3;
#endif
	slot = ((hash ^ wanted) * GOLDEN_64) >> (64 - SERVICE_BITS);
	for (i = 0; i < SERVICE_PROBES; i++) {
		service = &table->slots[(slot + i) & (SERVICE_SLOTS - 1)];
		if (endpoint_of(service) == wanted &&
		    !difference(packet, &service->address, address))
			return service;
		if (!endpoint_of(service))
			return NULL;
	}
	return NULL;
}

/* Marks have port 0, which a packet may have too. */
static __always_inline int is_real(struct service *service)
{
	return service && !(service->flags & SERVICE_ADDRESS_ONLY);
}

/* The service of a packet with ports. */
static __always_inline struct service *find_service(struct service_table *table,
						    const struct packet *packet)
{
	struct service *service;

	service = find_service_key(table, packet, packet->ports >> 16, packet->protocol);
#ifdef WITH_ANY_PORT
	if (!service)
		service = find_service_key(table, packet, 0, packet->protocol);
#endif
	return is_real(service) ? service : NULL;
}

/* The mark of an address that has services; NULL if it has none. */
static __always_inline struct service *find_mark(struct service_table *table,
						 const struct packet *packet)
{
	return find_service_key(table, packet, 0, PROTOCOL_ANY);
}

/* Whether a packet that has lost its ports may have been to some service of its address: the
 * protocol is that of one, or does not show.
 */
static __always_inline int may_be_served(struct service_table *table, const struct packet *packet)
{
	__u8 protocol = packet->protocol;

	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP)
		return find_service_key(table, packet, 0, protocol) != NULL;
#ifdef WITH_IPV6
	return packet->family == 6 && is_extension_header(protocol);
#else
	return 0;
#endif
}

static __always_inline __u32 scheduler_ports(const struct service *service,
					     const struct packet *packet)
{
#ifdef WITH_BY_SOURCE
	if (service->flags & SERVICE_BY_SOURCE)
		return 0;
#endif
	return packet->ports;
}

/* The slot of a flow in the lookup table of `service`; always below TABLE_SLOTS. */
static __always_inline __u64 slot_of(const struct service *service, const struct packet *packet,
				     __u64 flow, __u64 seed)
{
#ifdef WITH_JHASH
#ifdef WITH_MAGLEV
	if (service->flags & SERVICE_JHASH)
#endif
	{
		const struct address *source = &packet->source;
		__u32 word = source->word[0];

#ifdef WITH_IPV6
		word ^= source->word[1] ^ source->word[2] ^ source->word[3];
#endif
		return jhash_2words(word, scheduler_ports(service, packet), JHASH_SLOTS) %
		       JHASH_SLOTS;
	}
#endif
#ifdef WITH_BY_SOURCE
	if (service->flags & SERVICE_BY_SOURCE)
		flow = hash_flow(packet, 0, seed);
#endif
	/* the upper half of the hash, scaled: as even as a remainder, and cheaper */
	return (flow >> 32) * TABLE_SLOTS >> 32;
}

/* The number of the backend for a new flow; 0 if the service has none. */
static __always_inline __u32 pick_backend(const struct service *service,
					  const struct packet *packet, __u64 flow, __u64 seed)
{
	__u32 index = service->choice;
	__u64 slot;
	struct lookup_table *table;

	if (service->flags & SERVICE_SETTLED)
		return index;
	table = lookup_tables.lookup(&index);
	if (!table)
		return 0;
	slot = slot_of(service, packet, flow, seed);
	/* To the compiler this is certain; the verifier of Linux 6.1 needs to be shown. */
	asm volatile("" : "+r"(slot));
	if (slot >= TABLE_SLOTS)
		return 0;
	return ((__u16 *)table->slots)[slot];
}
