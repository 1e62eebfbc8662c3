/* SPDX-FileCopyrightText: 2026 The xdp.l4lb authors */
/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a step answers. */
#pragma once

#include "base/kernel.h"

/* XDP's verdict on the packet (enum xdp_action), whose way ends here; or GO_ON, which is none of
 * those, nor the negative number by which helpers say that they failed. What answers whether
 * something is so, or was found, is an int: 1 or 0.
 */
typedef int verdict_t;
#define GO_ON 256
