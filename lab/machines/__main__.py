# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines of a laboratory that is up.

python -m lab.machines up NAME FILE     boot those of a file, plugged into laboratory NAME
python -m lab.machines down NAME FILE   cut their power, and forget all that they have written
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from lab import Lab, LabError
from lab.machines import Machines, read


def main() -> int:
    try:
        order, name, file = sys.argv[1:]
        machines = Machines(Lab(name), read(Path(file)))
        begin = time.monotonic()
        {"up": machines.up, "down": machines.down}[order]()
    except (KeyError, ValueError):
        print(__doc__, file=sys.stderr)
        return 2
    except LabError as e:
        print(f"machines: {e}", file=sys.stderr)
        return 1
    print(f"machines: {order} after {time.monotonic() - begin:.0f} s: {' '.join(machines)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
