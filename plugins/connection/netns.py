# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection plugin: a host that is a set of Linux namespaces on the controller."""

from __future__ import annotations

DOCUMENTATION = """
name: netns
author:
  - The xdp.l4lb authors (!UNKNOWN)
short_description: Run tasks on a host made of network, mount and UTS namespaces
version_added: 0.1.0
description:
  - Runs tasks in persistent namespaces of the machine Ansible runs on, as if these were a host
    of their own.
  - A host is a directory with the files V(net), V(mnt) and V(uts), each the bind mount of a
    namespace. This is what the collection's laboratory makes.
  - If there is a file V(pid) too, tasks run among the processes of that namespace, as on a host that has booted.
  - The environment of the controlling process is not passed on; a task sees what a login would
    see.
requirements:
  - C(nsenter) of util-linux, and root, on the machine Ansible runs on.
extends_documentation_fragment:
  - connection_pipelining
options:
  directory:
    description: Where the laboratories are.
    type: path
    default: /run/l4lb-lab
    ini:
      - section: netns_connection
        key: directory
    env:
      - name: L4LB_LAB_DIRECTORY
    vars:
      - name: ansible_netns_directory
  lab:
    description: Name of the laboratory, a directory in O(directory).
    type: str
    default: default
    ini:
      - section: netns_connection
        key: lab
    env:
      - name: L4LB_LAB
    vars:
      - name: ansible_netns_lab
  host:
    description:
      - Name of the host, a directory in that of the laboratory.
      - C(ansible_host) is not asked, so it stays free for the address of the host.
      - A task with C(delegate_to) keeps the C(inventory_hostname) of the host that it came from, so
        where tasks are delegated, give every host its name by C(ansible_netns_host).
    type: str
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_netns_host
  become_success_timeout:
    description: Seconds to wait for privilege escalation to succeed.
    type: int
    default: 10
    vars:
      - name: ansible_netns_become_success_timeout
  become_strip_preamble:
    description: Whether output of privilege escalation, before the command's own, is dropped.
    type: bool
    default: true
    vars:
      - name: ansible_netns_become_strip_preamble
"""

import shlex
import subprocess
from pathlib import Path
from typing import IO

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.plugins.connection.local import Connection as LocalConnection
from ansible.utils.display import Display

display = Display()

# What root finds after logging in; nothing of the controller's environment, such as its virtual
# environment, may leak into the host.
ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SHELL": "/bin/sh",
    "USER": "root",
}


class Connection(LocalConnection):
    """Commands and files go through nsenter; the rest is the local connection."""

    transport = "xdp.l4lb.netns"

    def _connect(self) -> Connection:
        super()._connect()
        for path in self._namespaces().values():
            if not path.exists():
                raise AnsibleConnectionFailure(f"{path} does not exist. Is the laboratory up?")
        return self

    def exec_command(
        self, cmd: str, in_data: bytes | None = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        """Run a shell command in the host's namespaces."""
        inside = "exec " + shlex.join(self._inside("/bin/sh", "-c", cmd))
        return super().exec_command(inside, in_data=in_data, sudoable=sudoable)

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file of the controller to the host."""
        display.vvv(f"PUT {in_path} TO {out_path}", host=self._play_context.remote_addr)
        if not Path(in_path).exists():
            raise AnsibleFileNotFound(f"file or module does not exist: {in_path}")
        with Path(in_path).open("rb") as source:
            self._dd(f"of={out_path}", stdin=source, stdout=subprocess.DEVNULL)

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file of the host to the controller."""
        display.vvv(f"FETCH {in_path} TO {out_path}", host=self._play_context.remote_addr)
        with Path(out_path).open("wb") as target:
            self._dd(f"if={in_path}", stdin=subprocess.DEVNULL, stdout=target)

    def _dd(self, operand: str, stdin: IO[bytes] | int, stdout: IO[bytes] | int) -> None:
        command = self._inside("dd", operand, "bs=64K", "status=none")
        done = subprocess.run(
            command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, check=False
        )
        if done.returncode:
            message = done.stderr.decode(errors="replace").strip()
            raise AnsibleError(f"failed to transfer a file: {message}")

    def _inside(self, *command: str) -> list[str]:
        namespaces = [f"--{option}={path}" for option, path in self._namespaces().items()]
        environment = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        return ["nsenter", *namespaces, "--", "env", "-i", *environment, *command]

    def _namespaces(self) -> dict[str, Path]:
        """The option of nsenter and the file, for each namespace."""
        directory, lab, name = (self.get_option(key) for key in ("directory", "lab", "host"))
        host = Path(directory, lab, name)
        files = {"net": host / "net", "uts": host / "uts", "mount": host / "mnt"}
        processes = host / "pid"
        return {**files, "pid": processes} if processes.exists() else files
