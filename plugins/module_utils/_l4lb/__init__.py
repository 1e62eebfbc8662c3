# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The library. It is private to the collection, and may change with every release.

Its folders are floors; each imports only those below it, see tests/unit/test_layers.py.
"""
