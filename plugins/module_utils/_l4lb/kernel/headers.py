# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kernel headers of a host are there to compile with: the only place that looks for them.

The role puts this text before look.py, and tools/setup runs it, on hosts of which nothing is known
yet: it must run on any Python 3.
"""

import platform
import re
from pathlib import Path
from typing import NamedTuple, Optional

MODULES = Path("/lib/modules")
ARCHIVE = Path("/sys/kernel/kheaders.tar.xz")
"""The running kernel's own, if it was built to carry them (CONFIG_IKHEADERS)."""


class Headers(NamedTuple):
    """Kernel headers that bcc can compile with.

    `exact` says whether they are the running kernel's. XDP programs use only the stable user
    API, so others serve as well where those are not to be had.

    `source` has what is written by hand, `build` what is generated; Debian splits the two. Both
    are the archive where the headers have yet to be unpacked.
    """

    release: str
    exact: bool
    source: Path
    build: Path


def find_headers(modules: Path = MODULES, archive: Path = ARCHIVE) -> Optional[Headers]:
    """The running kernel's headers, else the newest ones installed; None if there are none."""
    release = platform.release()
    own = _installed(modules / release, exact=True)
    if own or archive.exists():
        return own or Headers(release, True, archive, archive)
    others = filter(None, map(_installed, modules.glob("*")))
    return max(others, key=_version, default=None)


def _installed(kernel: Path, exact: bool = False) -> Optional[Headers]:
    build = kernel / "build"
    for source in (kernel / "source", build):
        # Where bcc misses this one file, it looks for headers in places that anyone can write to.
        if (source / "include/linux/kconfig.h").is_file() and (build / "include").is_dir():
            return Headers(kernel.name, exact, source, build)
    return None


def _version(headers: Headers) -> list:
    return [int(number) for number in re.findall(r"\d+", headers.release)]
