// SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
// SPDX-License-Identifier: GPL-2.0-or-later
/* Nothing but a verdict, VERDICT as set by -D: what the other programs are compared with. */
#include <uapi/linux/bpf.h>

int baseline(struct xdp_md *ctx)
{
	return VERDICT;
}
