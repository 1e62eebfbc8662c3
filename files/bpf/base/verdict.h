/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a step answers. */
#pragma once

#include "base/kernel.h"

/* A step returns an XDP verdict, or this. */
#define GO_ON (-1)
