# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lists of modules for people, spreadsheets and programs."""

from __future__ import annotations

import collections
import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Module = Mapping[str, Any]

FORMATS = ("table", "csv", "json")
_TABLE = {
    "name": "NAME",
    "display_name": "DISPLAY NAME",
    "version": "VERSION",
    "category": "CATEGORY",
    "state": "STATE",
    "only_in": "ONLY IN",
    "path": "PATH",
}
_CSV = (
    "name",
    "display_name",
    "category",
    "author",
    "license",
    "state",
    "installed_version",
    "disk_version",
    "changed",
    "found_in",
    "path",
    "depends",
    "checksum",
)
#: What may be cut short in a table, with the least width that is left of it.
_SHRINKABLE = {"display_name": 16, "category": 12, "path": 16}
#: What a spreadsheet takes for the start of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render(modules: Mapping[str, Sequence[Module]] | Sequence[Module], *, form: str, width: int = 0) -> str:
    """Render modules as ``odoo_module_info`` returns them, or several such lists by instance.

    :param form: one of ``FORMATS``.
    :param width: how wide a table may be; without it as wide as it needs.
    """
    if form == "json":
        return json.dumps(_plain(modules), indent=2, ensure_ascii=False) + "\n"
    several = isinstance(modules, Mapping)
    lists = modules if isinstance(modules, Mapping) else {"": modules}
    if form == "csv":
        return _csv(lists, several=several)
    tables = (_table(found, title=title, width=width) for title, found in lists.items())
    return "\n".join(tables)


def _plain(value: Any) -> Any:
    """A copy without Ansible's own kinds of containers, which JSON's writer may look past."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _csv(lists: Mapping[str, Sequence[Module]], *, several: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow((["instance"] if several else []) + list(_CSV))
    for title, modules in lists.items():
        for module in modules:
            values = [_cell(module.get(column)) for column in _CSV]
            writer.writerow(([_cell(title)] if several else []) + values)
    return text.getvalue()


def _cell(value: Any) -> str:
    """A value as text that no spreadsheet computes."""
    text = _text(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return " ".join(str(item) for item in value)
    return str(value)


def _table(modules: Sequence[Module], *, title: str, width: int) -> str:
    rows = [_row(module) for module in modules]
    widths = _widths([_TABLE, *rows], width=width)
    lines = [title] if title else []
    for row in [_TABLE, *rows]:
        cells = (_fit(row[column], widths[column]) for column in _TABLE)
        lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, _summary(modules)]) + "\n"


def _row(module: Module) -> dict[str, str]:
    """The cells of a module: each one line, without anything that a terminal acts upon."""
    installed, on_disk = module.get("installed_version"), module.get("disk_version")
    cells = {
        **{column: module.get(column) for column in ("name", "display_name", "category", "path")},
        "version": f"{installed} -> {on_disk}" if installed and on_disk and installed != on_disk else None,
        "state": module.get("state") or "unknown",
        "only_in": "" if module.get("found_in") == "both" else module.get("found_in"),
    }
    cells["version"] = cells["version"] or installed or on_disk
    return {
        column: " ".join("".join(char if char.isprintable() else " " for char in _text(value)).split())
        for column, value in cells.items()
    }


def _widths(rows: Sequence[Mapping[str, str]], *, width: int) -> dict[str, int]:
    """How wide each column is: as its widest cell, or less where the table would be too wide."""
    widths = {column: max(_length(row[column]) for row in rows) for column in _TABLE}
    excess = sum(widths.values()) + 2 * (len(widths) - 1) - width if width else 0
    while excess > 0:
        over = {column: widths[column] for column, least in _SHRINKABLE.items() if widths[column] > least}
        if not over:
            break
        widths[max(over, key=lambda column: over[column])] -= 1
        excess -= 1
    return widths


def _fit(text: str, width: int) -> str:
    """Pad a text, or cut it and say so by an ellipsis."""
    while _length(text) > width:
        text = text[:-2] + "…"
    return text + " " * (width - _length(text))


def _length(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _summary(modules: Iterable[Module]) -> str:
    states = collections.Counter(module.get("state") or "unknown" for module in modules)
    places = collections.Counter(module.get("found_in") for module in modules)
    parts = [f"{count} {state}" for state, count in sorted(states.items())]
    for place, words in (("database", "only in the database"), ("disk", "only on disk")):
        if places[place]:
            parts.append(f"{places[place]} {words}")
    total = sum(states.values())
    return f"{total} module{'' if total == 1 else 's'}{': ' if parts else ''}{', '.join(parts)}"
