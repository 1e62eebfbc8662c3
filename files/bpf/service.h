/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Services, and the lookup table of each: which backend a flow is for. */
#pragma once

#define SERVICE_BITS 14
#define SERVICE_SLOTS (1 << SERVICE_BITS)
#define SERVICE_PROBES 64
#define TABLE_SLOTS 65537
#define LOOKUP_TABLES 8192
#define JHASH_SLOTS 512

#define SERVICE_ADDRESS_ONLY 1 /* no service: marks an address and protocol that has some */
#define SERVICE_JHASH 2

struct service {
	__be32 address[4]; /* IPv4 in the first word */
	__be16 port; /* 0: every port */
	__u8 protocol; /* 0: the slot is empty */
	__u8 family; /* 4 */
	__u16 id; /* of its counters */
	__u16 table; /* index in lookup_tables */
	__u32 seed;
	__u32 flags;
};
ASSERT_SIZE(struct service, 32);

/* A hash table with open addressing that user space builds: a service is found
 * within SERVICE_PROBES slots from the one its key hashes to, and before the
 * first empty one. It is never changed in place. */
struct service_table {
	__u32 layout; /* the version of all that is shared with user space */
	__u32 generation;
	__u32 manifest; /* id of the map that says what user space knows of all this */
	__u32 padding;
	struct service slots[SERVICE_SLOTS];
};
ASSERT_SIZE(struct service_table, 16 + 32 * SERVICE_SLOTS);

/* Slot -> number of a backend, or 0 where there is none. The verifier's bound of a scaled hash is
 * not as tight as the compiler's: the padding is for it, and never read.
 */
struct lookup_table {
	__u16 slots[TABLE_SLOTS];
	__u16 padding[7];
};
ASSERT_SIZE(struct lookup_table, 131088);

TABLE_OF(struct service_table, services, 1);
TABLE_OF(struct lookup_table, lookup_tables, LOOKUP_TABLES);

static __always_inline struct service *find_service_key(__be32 address, __be16 port, __u8 protocol)
{
	__u32 zero = 0;
	struct service_table *table;
	struct service *service;
	void *map;
	__u32 slot, i;

	map = services.lookup(&zero);
	if (!map)
		return NULL;
	table = bpf_map_lookup_elem(map, &zero);
	if (!table)
		return NULL;
	slot = ((address ^ (port | protocol << 16)) * GOLDEN_32) >> (32 - SERVICE_BITS);
	for (i = 0; i < SERVICE_PROBES; i++) {
		service = &table->slots[(slot + i) & (SERVICE_SLOTS - 1)];
		if (!service->protocol)
			return NULL;
		if (service->address[0] == address && service->port == port &&
		    service->protocol == protocol)
			return service;
	}
	return NULL;
}

/* Marks have port 0, which a packet may have too. */
static __always_inline int is_real(struct service *service)
{
	return service && !(service->flags & SERVICE_ADDRESS_ONLY);
}

static __always_inline struct service *find_service(struct packet *packet)
{
	struct service *service;

	service = find_service_key(packet->destination, packet->ports >> 16, packet->protocol);
#ifdef WITH_ANY_PORT
	if (!service)
		service = find_service_key(packet->destination, 0, packet->protocol);
#endif
	return is_real(service) ? service : NULL;
}

/* Of a packet without ports all that can be told is whether some service has its address and protocol. */
static __always_inline int service_owns_address(struct packet *packet)
{
	return find_service_key(packet->destination, 0, packet->protocol) != NULL;
}

/* The slot of a flow in the lookup table of `service`; always below TABLE_SLOTS. */
static __always_inline __u32 slot_of(struct service *service, struct packet *packet)
{
	__u64 flow;

#ifdef WITH_JHASH
#ifdef WITH_MAGLEV
	if (service->flags & SERVICE_JHASH)
#endif
		return jhash_2words(packet->source, packet->ports, JHASH_SLOTS) % JHASH_SLOTS;
#endif
#ifdef WITH_MAGLEV
	flow = mix64(((__u64)packet->ports << 32 | packet->source) ^ service->seed * GOLDEN_64);
	/* the upper half of the hash, scaled: as even as a remainder, and cheaper */
	return (flow >> 32) * TABLE_SLOTS >> 32;
#endif
	return 0;
}

/* The number of the backend for a flow; 0 if the service has none. */
static __always_inline __u32 pick_backend(struct service *service, struct packet *packet)
{
	__u32 zero = 0, index = service->table, slot;
	struct lookup_table *table;
	void *map;

	map = lookup_tables.lookup(&index);
	if (!map)
		return 0;
	table = bpf_map_lookup_elem(map, &zero);
	if (!table)
		return 0;
	slot = slot_of(service, packet);
	if (slot >= TABLE_SLOTS)
		return 0;
	return table->slots[slot];
}
