/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is written into IP headers, and read there, that the kernel's headers have no names for. */
#pragma once

#include "base/kernel.h"

#define IP_OFFSET_MASK 0x1fff
#define IP_MORE_FRAGMENTS 0x2000
#define IP_DONT_FRAGMENT 0x4000
#define OUTER_TTL 64 /* of what the balancer itself writes */
