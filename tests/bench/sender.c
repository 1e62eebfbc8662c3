// SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sends frames: run on live frames (BPF_F_TEST_XDP_LIVE_FRAMES), it sends each out of the interface
 * that the run names. What it is given is what an earlier frame has left in that memory, so it
 * writes the first HEAD_LEN bytes anew. Flows differ in the source address, as in harness.c.
 *
 * The time at which each block of FLOWS frames begins is noted.
 *
 * Set by -D: FLOWS; BLOCKS, and one for the end of the last.
 */
#include <uapi/linux/bpf.h>

#define HEAD_LEN 64

struct order {
	__u64 words[HEAD_LEN / 8]; /* of each frame */
	__u32 number; /* of the next frame */
	__u32 flow; /* of the first frame */
	__u32 mask; /* how many flows, less 1 */
	__u32 padding;
};

BPF_ARRAY(orders, struct order, 1);
BPF_ARRAY(begins, __u64, BLOCKS);

/* As in harness.c. */
#define SOURCE_WORD 3
#define SOURCE_SHIFT 16
#define GOLDEN (0x9e3779b1U << 6)

int sender(struct xdp_md *ctx)
{
	__u64 *words = (void *)(long)ctx->data, *begin;
	__u32 zero = 0, index, flow;
	struct order *order = orders.lookup(&zero);
	int i;

	if (!order || (void *)words + HEAD_LEN > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	if (order->number % FLOWS == 0) {
		index = order->number / FLOWS;
		begin = begins.lookup(&index);
		if (!begin)
			return XDP_ABORTED;
		*begin = bpf_ktime_get_ns();
	}
	flow = (order->flow + order->number) & order->mask;
	order->number += 1;
#pragma unroll
	for (i = 0; i < HEAD_LEN / 8; i++)
		words[i] = order->words[i];
	words[SOURCE_WORD] ^= (__u64)(flow * GOLDEN) << SOURCE_SHIFT;
	return XDP_TX;
}
