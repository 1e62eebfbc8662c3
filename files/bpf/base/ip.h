/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is written into IP headers and asked of routing, and has no name in the kernel's headers. */
#pragma once

#include "base/kernel.h"

#define IP_OFFSET_MASK 0x1fff
#define IP_MORE_FRAGMENTS 0x2000
#define IP_DONT_FRAGMENT 0x4000
#ifndef AF_INET
#define AF_INET 2
#define AF_INET6 10
#endif
#define LOOPBACK_IFINDEX 1
#define OUTER_TTL 64 /* of what the balancer itself writes */
