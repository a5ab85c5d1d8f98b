#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell where a host differs from what is wanted of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: drift_info
short_description: Tell where a host differs from what is wanted of it
version_added: 0.1.0
description:
  - Looks at any number of packages, users, directories, files and links in one execution, and names those that differ.
  - A role can then run its tasks only for what there is to do, which makes a run with nothing to do many times faster.
author: Slipway contributors (@slipway)
attributes:
  check_mode:
    support: full
    description: It only looks.
  diff_mode:
    support: none
    description: It changes nothing.
  idempotent:
    support: full
    description: It only looks.
options:
  packages:
    description: Names of Debian packages that must be installed.
    type: list
    elements: str
    default: []
  users:
    description: Users that must exist.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      groups:
        description: Groups it must be a member of besides its own.
        type: list
        elements: str
        default: []
  directories:
    description: Directories that must exist.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path of the directory.
        type: path
        required: true
      owner:
        description: Owner, and the name of the group.
        type: str
        default: root
      mode:
        description: Mode in four octal digits.
        type: str
        default: "0755"
  files:
    description: Files that must exist, owned by root with the mode 0644.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path of the file.
        type: path
        required: true
      content:
        description: What must be in it. Without it, anything may be.
        type: str
  links:
    description: Symbolic links that must exist.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path of the link.
        type: path
        required: true
      target:
        description: Where it must lead.
        type: str
        required: true
"""

EXAMPLES = r"""
- name: Look for what there is to do
  slipway.odoo.drift_info:
    packages: [odoo-19]
    directories:
      - {path: /var/lib/odoo/main, owner: odoo-main, mode: "0750"}
  register: drift

- name: Create the directories
  ansible.builtin.file:
    path: "{{ item.path }}"
    state: directory
    owner: "{{ item.owner }}"
    group: "{{ item.owner }}"
    mode: "{{ item.mode }}"
  loop: "{{ drift.directories }}"
"""

RETURN = r"""
packages:
  description: Names of the packages that are not installed.
  returned: always
  type: list
  elements: str
users:
  description: The entries of O(users) that are missing or not in their groups.
  returned: always
  type: list
  elements: dict
directories:
  description: The entries of O(directories) that are missing or differ.
  returned: always
  type: list
  elements: dict
files:
  description: Paths of the files that are missing or differ.
  returned: always
  type: list
  elements: str
links:
  description: Paths of the links that are missing or lead elsewhere.
  returned: always
  type: list
  elements: str
"""

import grp
import os
import pwd
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def installed_packages(status: str) -> set[str]:
    """Names in the output of dpkg-query whose package is completely installed."""
    pairs = (line.partition(" ") for line in status.splitlines())
    return {name for name, _separator, state in pairs if state == "installed"}


def user_is_right(user: Mapping[str, Any]) -> bool:
    """Whether a user exists and is in its groups."""
    try:
        pwd.getpwnam(user["name"])
        return all(user["name"] in grp.getgrnam(group).gr_mem for group in user["groups"])
    except KeyError:
        return False


def has_attributes(path: str, *, owner: str, mode: str, kind: int) -> bool:
    """Whether something of this kind is there with its owner, the group of the same name, and its mode."""
    try:
        status = os.lstat(path)
        return (
            stat.S_IFMT(status.st_mode) == kind
            and stat.S_IMODE(status.st_mode) == int(mode, 8)
            and status.st_uid == pwd.getpwnam(owner).pw_uid
            and status.st_gid == grp.getgrnam(owner).gr_gid
        )
    except (OSError, KeyError):
        return False


def file_is_right(file: Mapping[str, Any]) -> bool:
    """Whether a file is root's, readable by all, and holds what it must."""
    if not has_attributes(file["path"], owner="root", mode="0644", kind=stat.S_IFREG):
        return False
    if file["content"] is None:
        return True
    with open(file["path"], encoding="utf-8", errors="replace") as stream:
        return stream.read() == file["content"]


def link_is_right(link: Mapping[str, Any]) -> bool:
    """Whether a link is there and leads where it must."""
    return os.path.islink(link["path"]) and os.readlink(link["path"]) == link["target"]


def missing_packages(module: AnsibleModule, names: Sequence[str]) -> list[str]:
    """Names of the packages that are not installed."""
    if not names:
        return []
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names]
    # Its return code says only that some are unknown to it.
    _code, out, _err = module.run_command(query)
    installed = installed_packages(out)
    return [name for name in names if name not in installed]


def main() -> None:
    """Look, and answer."""
    text = {"type": "str", "required": True}
    path = {"type": "path", "required": True}

    def entries(**options: Any) -> dict[str, Any]:
        return {"type": "list", "elements": "dict", "default": [], "options": options}

    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "users": entries(name=text, groups={"type": "list", "elements": "str", "default": []}),
            "directories": entries(
                path=path, owner={"type": "str", "default": "root"}, mode={"type": "str", "default": "0755"}
            ),
            "files": entries(path=path, content={"type": "str"}),
            "links": entries(path=path, target=text),
        },
        supports_check_mode=True,
    )
    wanted = module.params
    module.exit_json(
        changed=False,
        packages=missing_packages(module, wanted["packages"]),
        users=[user for user in wanted["users"] if not user_is_right(user)],
        directories=[
            entry
            for entry in wanted["directories"]
            if not has_attributes(entry["path"], owner=entry["owner"], mode=entry["mode"], kind=stat.S_IFDIR)
        ],
        files=[file["path"] for file in wanted["files"] if not file_is_right(file)],
        links=[link["path"] for link in wanted["links"] if not link_is_right(link)],
    )


if __name__ == "__main__":
    main()
