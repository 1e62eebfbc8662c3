# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three balancers behind one address, and what their clients notice of what becomes of them."""
