/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a packet must have to be answered: a header that can be believed, and a token. So neither a
 * flood nor a forger makes the balancer a sender of floods; and a flood of pings leaves what path
 * MTU discovery needs.
 */
#pragma once

#include "base/kernel.h"
#include "base/checksum.h"
#include "base/counters.h"
#include "base/maps.h"
#include "base/verdict.h"
#include "base/verifier.h"
#include "parse/address.h"
#include "parse/packet.h"

#define MOST_HEADER 60 /* bytes that a header of IPv4 may have */

/* Answers of a kind that a CPU may still give. A second's worth is saved up at the most. */
struct bucket {
	__u64 tokens; /* of which an answer takes TICKS_PER_SECOND; each tick brings the rate */
	__u64 filled; /* when, in ticks */
};
ASSERT_SIZE(struct bucket, 16);

TABLE("percpu_array", struct bucket, limits, ANSWERS);

/* 1 if there is a token for an answer, which is taken. Nothing overflows: rates have 32 bits, and
 * more than a second's ticks do not count.
 */
static __always_inline int take_token(enum answer kind, __u64 rate)
{
	__u32 key = kind;
	struct bucket *bucket = limits.lookup(&key);
	__u64 now = bpf_jiffies64(), most = rate * TICKS_PER_SECOND, passed;

	if (!bucket)
		return 0;
	passed = now - bucket->filled;
	bucket->filled = now;
	bucket->tokens += passed < TICKS_PER_SECOND ? passed * rate : most;
	if (bucket->tokens > most)
		bucket->tokens = most;
	if (bucket->tokens < TICKS_PER_SECOND)
		return 0;
	bucket->tokens -= TICKS_PER_SECOND;
	return 1;
}

#ifdef WITH_IPV4
/* Whether the options of an IPv4 header of `length` bytes can be read, and name no source route.
 * That every byte takes a turn, also within an option, spares the verifier many paths.
 */
static __always_inline int are_options_sound(struct xdp_md *ctx, const __u8 *ip, __u32 length)
{
	const __u8 *option;
	__u32 at, within = 0;

	for (at = sizeof(struct iphdr); at < MOST_HEADER; at++) {
		FORGET(within, ctx->ingress_ifindex);
		option = ip + at;
		if (at >= length || option + 2 > (__u8 *)(long)ctx->data_end)
			break;
		if (within) {
			within--;
			continue;
		}
		if (*option == IPOPT_END)
			break;
		if (*option == IPOPT_NOOP)
			continue;
		if (*option == IPOPT_LSRR || *option == IPOPT_SSRR || option[1] < 2 ||
		    at + option[1] > length)
			return 0;
		within = option[1] - 1;
	}
	return 1;
}

/* Whether an IPv4 header is as it was sent, and the way that it came the sender's shortest. */
static __always_inline int is_sound_ipv4(struct xdp_md *ctx, const struct packet *packet)
{
	const __u8 *ip = (void *)(long)ctx->data + network_offset(packet);
	const void *end = (void *)(long)ctx->data_end;
	const __be32 *word = (const void *)ip;
	__u32 length, sum = 0, at;

	if (ip + sizeof(struct iphdr) > (__u8 *)end)
		return 0;
	length = (*ip & 0xf) * 4;
	for (at = 0; at < MOST_HEADER && at < length; at += sizeof(*word), word++) {
		/* keeps the compiler from arithmetic with the end, which the verifier refuses */
		asm volatile("" : "+r"(word));
		if ((void *)(word + 1) > end)
			return 0;
		sum += (*word & 0xffff) + (*word >> 16);
	}
	FORGET(sum, ctx->ingress_ifindex);
	FORGET(length, ctx->ingress_ifindex);
	return !checksum_of_sum(sum) && are_options_sound(ctx, ip, length);
}
#endif

/* Whether there is a host to answer; none has a group's address (IEEE 802.3, 3.2.4). */
static __always_inline int has_sender(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;

	return data + sizeof(struct ethhdr) <= (void *)(long)ctx->data_end &&
	       !is_group(data + ETH_ALEN);
}

/* GO_ON if a packet may be answered; else it is dropped. */
static __always_inline verdict_t may_answer(struct xdp_md *ctx, const struct packet *packet,
					    enum answer kind, __u32 rate)
{
#ifdef WITH_IPV4
	if (packet->family == 4 && !is_sound_ipv4(ctx, packet))
		return drop(DROP_MALFORMED);
#endif
	if (packet->routed || !has_sender(ctx))
		return drop(DROP_MALFORMED);
	return take_token(kind, rate) ? GO_ON : drop(DROP_LIMITED);
}
