# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Having the maps of a program that is not attached hold a state."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import (
    compare,
    egresses,
    staging,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.program import DataPath
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps import image
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.egress_record import (
    Egress,
    EgressKey,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.manifest import Manifest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Address, Config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.interface import Ingress


def write(
    data_path: DataPath,
    config: Config,
    source: Ingress,
    exits: Mapping[EgressKey, Egress] | None = None,
    route_mtus: Mapping[Address, int] | None = None,
) -> Manifest:
    """Have it do what `config` says. exits: how frames leave by the host's interfaces."""
    egresses.replace(data_path, exits or {})
    before = data_path.read()
    staged = staging.stage(data_path, config, source, before=before, route_mtus=route_mtus)
    staging.switch(data_path, staged)
    staging.finish(data_path, staged)
    return staged.manifest


def differences(data_path: DataPath, manifest: Manifest, source: Ingress) -> list[str]:
    """Where it does not do what `manifest` says."""
    return compare.differences(data_path, image.draw(manifest, source))
