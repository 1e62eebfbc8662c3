// SPDX-License-Identifier: GPL-2.0-or-later
/* Nothing but the verdict: what the other programs are compared with. */
#include <uapi/linux/bpf.h>

int baseline(struct xdp_md *ctx)
{
	return XDP_TX;
}
