// SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
// SPDX-License-Identifier: GPL-2.0-or-later
/* Sees packets before and after the program that balances (fentry and fexit), for l4lb capture. The
 * program itself knows nothing of it: why it dropped or answered a packet, the CPU's counters tell,
 * which are compared with what they were.
 *
 * Set by -D: SNAPLEN, the bytes that are kept of a frame; RING_PAGES; SAMPLE, of how many packets one is
 * looked at; FATES, which are told, a bit each; and where only some are wanted, REASON, and CLIENT
 * (4 or 6) with CLIENT_0 to CLIENT_3 and MASK_0 to MASK_3, words of a prefix as they lie in memory.
 */
#include "base/kernel.h"
#include "base/counters.h"
#include "base/maps.h"

#define NO_WAKEUP                                                                                  \
	1 /* BPF_RB_NO_WAKEUP: waking the reader costs a hundred times what a packet does */
#define TYPE_AT (2 * ETH_ALEN)
#define TAG_LENGTH 4
#define IPV4_SOURCE 12 /* in its header */
#define IPV6_SOURCE 8

/* In the order of the library's FATES (operations/capture/packet.py). */
enum fate {
	PASSED,
	DROPPED,
	ANSWERED,
	SENT,
};

/* What a CPU knows of the packet that it is about. Not in a record of the ring from the beginning:
 * that must be given back by the program that reserves it.
 */
struct seen {
	__u64 time; /* 0: the packet is not looked at */
	__u32 length;
	__u32 turn; /* packets since one was looked at */
	__u64 is_known; /* the counters are those before the packet */
	__u64 drops[DROP_REASONS];
	__u64 answers[ANSWERS];
	__u8 bytes[SNAPLEN];
};

/* What is told of a packet; the library's packet.HEADER. */
struct fate_record {
	__u64 time; /* monotonic, in ns */
	__u32 length; /* of whole frames, before and after */
	__u32 length_after;
	__u32 verdict; /* enum xdp_action */
	__u16 fate;
	__u16 reason; /* enum drop, or DROP_REASONS + enum answer; 0: none */
};
ASSERT_SIZE(struct fate_record, 24);

/* The same with the beginnings of both frames. */
struct record {
	struct fate_record head;
	__u8 before[SNAPLEN];
	__u8 after[SNAPLEN];
};

TABLE("percpu_array", struct seen, seen_packets, 1);
TABLE("percpu_array", __u64, losses, 1);
BPF_RINGBUF_OUTPUT(ring, RING_PAGES);

/* What is kept of a frame; its length is that of all of it. */
static __always_inline __u32 keep(__u64 xdp, __u8 *bytes)
{
	__u64 ends[2]; /* struct xdp_buff begins with data and data_end */
	__u64 length, kept;

	if (bpf_probe_read_kernel(ends, sizeof(ends), (void *)xdp))
		return 0;
	length = ends[1] - ends[0];
	kept = length < SNAPLEN ? length : SNAPLEN;
	if (bpf_probe_read_kernel(bytes, kept, (void *)ends[0]))
		return 0;
	return length;
}

/* Whether a packet comes from the prefix that is wanted. */
static __always_inline int is_from_client(const __u8 *frame)
{
#ifdef CLIENT
	const __u8 *at = frame + TYPE_AT;
	const __u32 *source;

#pragma unroll
	for (int tag = 0; tag < 2; tag++) {
		__be16 type = *(const __be16 *)at;

		if (type == htons(ETH_P_8021Q) || type == htons(ETH_P_8021AD))
			at += TAG_LENGTH;
	}
	source = (const void *)at + sizeof(__be16) + (CLIENT == 4 ? IPV4_SOURCE : IPV6_SOURCE);
	if (*(const __be16 *)at != htons(CLIENT == 4 ? ETH_P_IP : ETH_P_IPV6))
		return 0;
	if ((source[0] & MASK_0) != CLIENT_0)
		return 0;
#if CLIENT == 6
	if ((source[1] & MASK_1) != CLIENT_1 || (source[2] & MASK_2) != CLIENT_2 ||
	    (source[3] & MASK_3) != CLIENT_3)
		return 0;
#endif
#endif
	return 1;
}

/* Which counter of drops has changed, or DROP_NONE; those of the CPU are what is remembered then. */
static __always_inline __u32 find_drop(struct seen *seen)
{
	__u32 found = DROP_NONE;

#pragma unroll
	for (__u32 reason = 1; reason < DROP_REASONS; reason++) {
		__u32 key = reason;
		__u64 *counter = drops.lookup(&key);

		if (counter && *counter != seen->drops[reason]) {
			seen->drops[reason] = *counter;
			found = reason;
		}
	}
	return found;
}

/* The same for answers: DROP_REASONS and more, or DROP_NONE. */
static __always_inline __u32 find_answer(struct seen *seen)
{
	__u32 found = DROP_NONE;

#pragma unroll
	for (__u32 kind = 0; kind < ANSWERS; kind++) {
		__u32 key = kind;
		__u64 *counter = answers.lookup(&key);

		if (counter && *counter != seen->answers[kind]) {
			seen->answers[kind] = *counter;
			found = DROP_REASONS + kind;
		}
	}
	return found;
}

/* What became of a packet, and why. */
static __always_inline enum fate find_fate(struct seen *seen, __u32 verdict, __u32 *reason)
{
	switch (verdict) {
	case XDP_PASS:
		*reason = DROP_NONE;
		return PASSED;
	case XDP_TX:
		*reason = find_answer(seen);
		return *reason ? ANSWERED : SENT;
	case XDP_REDIRECT:
		*reason = DROP_NONE;
		return SENT;
	default:
		*reason = find_drop(seen);
		return DROPPED;
	}
}

int capture_entry(__u64 *args)
{
	__u32 zero = 0;
	struct seen *seen = seen_packets.lookup(&zero);

	if (!seen)
		return 0;
	if (!seen->is_known) {
		find_drop(seen);
		find_answer(seen);
		seen->is_known = 1;
	}
	seen->time = 0;
	if (++seen->turn < SAMPLE)
		return 0;
	seen->length = keep(args[0], seen->bytes);
	if (!seen->length || !is_from_client(seen->bytes))
		return 0;
	seen->turn = 0;
	seen->time = bpf_ktime_get_ns();
	return 0;
}

int capture_exit(__u64 *args)
{
	__u32 zero = 0, verdict = args[1], reason;
	struct seen *seen = seen_packets.lookup(&zero);
	struct record *record;
	enum fate fate;

	if (!seen || !seen->is_known)
		return 0;
	fate = find_fate(seen, verdict, &reason);
	if (!seen->time || !(FATES & (1 << fate)))
		return 0;
#ifdef REASON
	if (reason != REASON)
		return 0;
#endif
	record = ring.ringbuf_reserve(sizeof(*record));
	if (!record) {
		__u64 *lost = losses.lookup(&zero);

		if (lost)
			*lost += 1;
		return 0;
	}
	record->head.time = seen->time;
	record->head.length = seen->length;
	record->head.length_after =
		fate == SENT || fate == ANSWERED ? keep(args[0], record->after) : 0;
	record->head.verdict = verdict;
	record->head.fate = fate;
	record->head.reason = reason;
	bpf_probe_read_kernel(record->before, sizeof(record->before), seen->bytes);
	ring.ringbuf_submit(record, NO_WAKEUP);
	return 0;
}
