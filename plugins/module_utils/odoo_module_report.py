# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lists of modules for people, spreadsheets and programs."""

from __future__ import annotations

import collections
import csv
import io
import json
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Module = Mapping[str, Any]
#: What ``odoo_module_info`` returns: ``modules``, and lists of those that need attention.
Inventory = Mapping[str, Any]

FORMATS = ("table", "csv", "json")
_TABLE = {
    "name": "NAME",
    "display_name": "DISPLAY NAME",
    "version": "VERSION",
    "category": "CATEGORY",
    "state": "STATE",
    "only_in": "ONLY IN",
    "marks": "MARKS",
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
    "problems",
)
#: The keys of an inventory that are its own; a registered result has more, such as the item of its loop.
_KEYS = (
    "database",
    "series",
    "directories",
    "missing_directories",
    "modules",
    "pending",
    "outdated",
    "changed_since_installed",
    "unknown_changes",
    "only_in_database",
    "only_on_disk",
    "not_installable",
    "unparsable",
    "missing_dependencies",
    "shadowed",
    "broken",
    "unmatched",
)
#: How wide the lists of names below a table are, if the table may be as wide as it needs.
_PROSE_WIDTH = 120
#: What may be cut short in a table, with the least width that is left of it.
_SHRINKABLE = {"display_name": 16, "category": 12, "path": 16}
#: What a spreadsheet takes for the start of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def is_inventory(value: Any) -> bool:
    """Tell the whole result of ``odoo_module_info`` from lists by instance, of which one may be called ``modules``."""
    return isinstance(value, Mapping) and "modules" in value and isinstance(value.get("database"), str)


def render(found: Mapping[str, Any] | Sequence[Module], *, form: str, width: int = 0) -> str:
    """Render what ``odoo_module_info`` returns, its modules alone, or several of either by instance.

    :param form: one of ``FORMATS``.
    :param width: how wide a table may be; without it as wide as it needs.
    """
    several = isinstance(found, Mapping) and not is_inventory(found)
    by_instance: Mapping[str, Any] = found if isinstance(found, Mapping) and several else {"": found}
    if form == "json":
        plain = {str(title): _plain(_own(value)) for title, value in by_instance.items()}
        return json.dumps(plain if several else plain[""], indent=2, ensure_ascii=False) + "\n"
    inventories = {
        title: value if isinstance(value, Mapping) else {"modules": value} for title, value in by_instance.items()
    }
    if form == "csv":
        return _csv(inventories, several=several)
    tables = (_table(inventory, title=title, width=width) for title, inventory in inventories.items())
    return "\n".join(tables)


def _own(value: Any) -> Any:
    """An inventory without what Ansible adds to a result, which may hold secrets."""
    return {key: value[key] for key in _KEYS if key in value} if isinstance(value, Mapping) else value


def _plain(value: Any) -> Any:
    """A copy without Ansible's own kinds of containers, which JSON's writer may look past."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _csv(inventories: Mapping[str, Inventory], *, several: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow((["instance"] if several else []) + list(_CSV))
    for title, inventory in inventories.items():
        problems = collections.defaultdict(list)
        for _heading, name, problem in (*_faults(inventory), *_wants(inventory)):
            problems[name].append(problem)
        rows = [{**module, "problems": "; ".join(problems[module["name"]])} for module in inventory["modules"]]
        rows += [
            {"path": path, "problems": "this entry of addons_path is no directory"}
            for path in inventory.get("missing_directories", ())
        ]
        for row in rows:
            values = [_cell(row.get(column)) for column in _CSV]
            writer.writerow(([_cell(title)] if several else []) + values)
    return text.getvalue()


def _faults(inventory: Inventory) -> Iterator[tuple[str, str, str]]:
    """What is wrong with single modules: a heading, the technical name, and words that were not said before."""
    told: dict[str, str] = collections.defaultdict(str)
    lines = [("Broken", fault["name"], fault["reason"]) for fault in inventory.get("broken", ())]
    lines += [
        ("Manifests that cannot be parsed", fault["name"], f"{fault['reason']} ({_place(fault)})")
        for fault in inventory.get("unparsable", ())
    ]
    lines += [("Not installable", fault["name"], fault["reason"]) for fault in inventory.get("not_installable", ())]
    lines += [
        ("Known to the database, and not on disk", name, "in no directory of the addons path")
        for name in inventory.get("only_in_database", ())
    ]
    lines += [
        ("Further copies, which Odoo passes over", copy["name"], f"{copy['path']} is not used, {copy['used']} is")
        for copy in inventory.get("shadowed", ())
    ]
    for heading, name, words in lines:
        if words not in told[name]:
            told[name] += f"{words}\n"
            yield heading, name, words


def _place(fault: Mapping[str, Any]) -> str:
    return f"{fault['file']}:{fault['line']}" if fault["line"] else str(fault["file"])


def _wants(inventory: Inventory) -> Iterator[tuple[str, str, str]]:
    """The same of each module that cannot have what it depends on."""
    for missing in inventory.get("missing_dependencies", ()):
        for name, *way in missing["chains"]:
            through = f" through {', '.join(way[:-1])}" if way[:-1] else ""
            yield "Missing dependencies", name, f"it needs {missing['name']}{through}: {missing['reason']}"


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


def _table(inventory: Inventory, *, title: str, width: int) -> str:
    marks = _marks(inventory)
    rows = [_row(module, marks[module["name"]]) for module in inventory["modules"]]
    widths = _widths([_TABLE, *rows], width=width)
    lines = [title] if title else []
    for row in [_TABLE, *rows]:
        cells = (_fit(row[column], widths[column]) for column in _TABLE)
        lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, _summary(inventory["modules"], marks), *_sections(inventory, width=width)]) + "\n"


def _marks(inventory: Inventory) -> Mapping[str, list[str]]:
    """What is remarkable about each module, in a word."""
    named = {
        "broken": [fault["name"] for fault in inventory.get("broken", ())],
        "unreadable": [fault["name"] for fault in inventory.get("unparsable", ())],
        "outdated": inventory.get("outdated", ()),
        "changed": [module["name"] for module in inventory["modules"] if module.get("changed")],
    }
    marks = collections.defaultdict(list)
    for mark, names in named.items():
        for name in dict.fromkeys(names):
            marks[name].append(mark)
    return marks


def _sections(inventory: Inventory, *, width: int) -> Iterator[str]:
    """What is to be said below a table: each heading with its lines."""
    sections = collections.defaultdict(list)
    for heading, name, words in _faults(inventory):
        sections[heading].append(f"{name}: {words}")
    for missing in inventory.get("missing_dependencies", ()):
        wanting = ", ".join(chain[0] for chain in missing["chains"])
        sections["Missing dependencies"].append(f"{missing['name']}: {missing['reason']}; needed by {wanting}")
    sections["Entries of addons_path that are no directories"] += inventory.get("missing_directories", ())
    for heading, key in (
        ("Installed without a stored checksum, so that a change is not seen", "unknown_changes"),
        ("Patterns that fit no module here", "unmatched"),
    ):
        if inventory.get(key):
            names = textwrap.wrap(
                ", ".join(inventory[key]),
                width=max(width or _PROSE_WIDTH, 40) - 2,
                break_long_words=False,
                break_on_hyphens=False,
            )
            sections[heading] += names
    for heading, lines in sections.items():
        if lines:
            yield f"{heading}:"
            yield from (f"  {_line(line)}" for line in lines)


def _line(value: Any) -> str:
    """A value as one line, without anything that a terminal acts upon."""
    return " ".join("".join(char if char.isprintable() else " " for char in _text(value)).split())


def _row(module: Module, marks: Sequence[str]) -> dict[str, str]:
    """The cells of a module."""
    installed, on_disk = module.get("installed_version"), module.get("disk_version")
    cells = {
        **{column: module.get(column) for column in ("name", "display_name", "category", "path")},
        "version": f"{installed} -> {on_disk}" if installed and on_disk and installed != on_disk else None,
        "state": module.get("state") or "unknown",
        "only_in": "" if module.get("found_in") == "both" else module.get("found_in"),
        "marks": ", ".join(marks),
    }
    cells["version"] = cells["version"] or installed or on_disk
    # A manifest that cannot be parsed names nothing.
    cells["display_name"] = cells["display_name"] or cells["name"]
    return {column: _line(value) for column, value in cells.items()}


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


def _summary(modules: Sequence[Module], marks: Mapping[str, Sequence[str]]) -> str:
    states = collections.Counter(module.get("state") or "unknown" for module in modules)
    places = collections.Counter(module.get("found_in") for module in modules)
    marked = collections.Counter(mark for module in modules for mark in marks.get(module["name"], ()))
    parts = [f"{count} {state}" for state, count in sorted(states.items())]
    for place, words in (("database", "only in the database"), ("disk", "only on disk")):
        if places[place]:
            parts.append(f"{places[place]} {words}")
    parts += [f"{count} {mark}" for mark, count in sorted(marked.items())]
    total = sum(states.values())
    return f"{total} module{'' if total == 1 else 's'}{': ' if parts else ''}{', '.join(parts)}"
