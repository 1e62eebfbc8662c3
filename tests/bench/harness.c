// SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a benchmark runs instead of the program under test: BPF_PROG_TEST_RUN does not restore the
 * packet between repeats, so this does, and then goes on to the program by a tail call. Whatever
 * is done here costs the same for every program, so it goes away when a program that does nothing
 * is measured in the same way and subtracted:
 *
 *	undo what the last program did to the head of the frame (always one call of
 *	bpf_xdp_adjust_head, if only by 0, which costs the same)
 *	-> write the first HEAD_LEN bytes of a frame anew -> tail call
 *
 * Flows differ in the source address, which is computed: 4096 whole frames would take a quarter
 * of a second-level cache, and programs would be measured by what is left for them.
 *
 * Programs take turns by blocks of FLOWS frames, as user space has scheduled, within one system
 * call. The time at which each block begins is noted.
 *
 * Set by -D: FLOWS; HEADS of frames; BLOCKS in a schedule, and one for its end.
 */
#include <uapi/linux/bpf.h>

#define HEAD_LEN 64
#define PROGRAMS 256

struct head {
	__u64 words[HEAD_LEN / 8];
};

struct block {
	__u64 begin; /* when it began, in ns */
	__u32 program; /* in `programs` */
	__u32 first; /* of its frames, in `heads` */
	__u32 mask; /* how many of them, less 1 */
	__u32 length; /* of each frame */
	__u32 flow; /* the number of the first one */
	__u32 padding;
};

BPF_ARRAY(heads, struct head, HEADS);
BPF_ARRAY(schedule, struct block, BLOCKS);
BPF_ARRAY(position, __u64, 1);
BPF_PROG_ARRAY(programs, PROGRAMS);

/* Of bytes 24 to 31 of a frame the third to the sixth are IPv4's source address, or some of IPv6's. */
#define SOURCE_WORD 3
#define SOURCE_SHIFT 16
/* Odd, so no two of 2^26 flows have the same address. The first six bits that it does not change
 * keep addresses from being such as no host has.
 */
#define GOLDEN (0x9e3779b1U << 6)

int harness(struct xdp_md *ctx)
{
	__u32 zero = 0, index, number;
	struct block *block;
	struct head *head;
	__u64 *now, *words, source;

	now = position.lookup(&zero);
	if (!now)
		return XDP_ABORTED;
	number = *now;
	index = number / FLOWS;
	block = schedule.lookup(&index);
	if (!block)
		return XDP_ABORTED;
	if (number % FLOWS == 0)
		block->begin = bpf_ktime_get_ns();

	if (bpf_xdp_adjust_head(ctx, (int)(ctx->data_end - ctx->data) - (int)block->length))
		return XDP_ABORTED;
	index = block->first + (number & block->mask);
	head = heads.lookup(&index);
	words = (void *)(long)ctx->data;
	if (!head || (void *)words + HEAD_LEN > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	source = (__u64)((block->flow + number % FLOWS) * GOLDEN) << SOURCE_SHIFT;
	words[0] = head->words[0];
	words[1] = head->words[1];
	words[2] = head->words[2];
	words[SOURCE_WORD] = head->words[SOURCE_WORD] ^ source;
	words[4] = head->words[4];
	words[5] = head->words[5];
	words[6] = head->words[6];
	words[7] = head->words[7];

	/* Atomic, so that the stores above are in the cache before the program begins, as those of a
	 * network card are: to read across two stores that are still on their way costs a stall.
	 */
	__sync_fetch_and_add(now, 1);
	programs.call(ctx, block->program);
	return XDP_ABORTED;
}
