/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far a packet is parsed, header by header. */
#pragma once

#include "base/kernel.h"

struct cursor {
	void *data;
	void *data_end;
	__u32 offset; /* of the next header */
};

static __always_inline struct cursor cursor_at(const struct xdp_md *ctx, __u32 offset)
{
	return (struct cursor){ (void *)(long)ctx->data, (void *)(long)ctx->data_end, offset };
}

/* What comes next, of which nothing may be read before it is known to be there. */
static __always_inline void *next_header(const struct cursor *cursor)
{
	return cursor->data + cursor->offset;
}

/* Whether there are so many bytes of it. A NULL in its place would cost another comparison. */
static __always_inline int is_there(const struct cursor *cursor, __u32 size)
{
	return next_header(cursor) + size <= cursor->data_end;
}
