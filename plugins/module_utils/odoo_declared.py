# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the files of a module declare, for the few records that an update leaves as they are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from xml.etree import ElementTree

#: Directories of a module that declare no records.
_WITHOUT_RECORDS = frozenset(["static", "tests", "i18n", "__pycache__"])


def declared_tags(directory: str, *, module: str, name: str, tag: str) -> frozenset[str]:
    """The tags that a module's files give a client action; none when they do not declare it.

    :param name: its external identifier without the module.
    :param tag: the one that it has. Where no record declares the action, one that the code makes another way
        is known by this text.
    """
    found: set[str] = set()
    mention = re.compile(rf"[\"'>,]{re.escape(tag)}[\"'<,\r\n]".encode())
    mentioned = False
    for path in _files(directory):
        with open(path, "rb") as stream:
            data = stream.read()
        if path.endswith(".xml") and name.encode() in data:
            found.update(_tags_of_records(data, {name, f"{module}.{name}"}))
        mentioned = mentioned or (tag != "" and mention.search(data) is not None)
    return frozenset(found) if found or not mentioned else frozenset([tag])


def _tags_of_records(data: bytes, names: set[str]) -> Iterator[str]:
    try:
        # As much to be trusted as the module's code, which Odoo runs.
        root = ElementTree.fromstring(data)  # noqa: S314
    except ElementTree.ParseError:
        return
    for record in root.iter("record"):
        for field in record.iterfind("field[@name='tag']") if record.get("id") in names else ():
            yield (field.text or "").strip() or (field.get("eval") or "").strip(" \"'")


def _files(directory: str) -> Iterator[str]:
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(set(directories) - _WITHOUT_RECORDS)
        for name in sorted(names):
            if name.endswith((".xml", ".csv", ".py")):
                yield os.path.join(parent, name)
