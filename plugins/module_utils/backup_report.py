# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is of a host's backups, in words; and the limits of its health check as backup_info takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.backup_health import Thresholds, size_text, span

# Bad backups of a kind that are named, newest first.
NAMED = 3
HOUR_S = 3600
DAY_S = 86400


def limits(health: Mapping[str, Any]) -> dict[str, Any]:
    """Options of ``backup_info`` from a site's ``backup_health``, which says over what the defaults are to go.

    :raises SlipwayError: an unknown name, or a value that is no number from 0 up.
    """
    thresholds = Thresholds.of(health)
    return {
        "max_age": {kind: seconds / HOUR_S for kind, seconds in thresholds.max_age_s.items()},
        "size_min_factor": thresholds.size_min_factor,
        "size_max_factor": thresholds.size_max_factor,
        "require_verified_days": thresholds.verify_age_s / DAY_S,
    }


def lines(kinds: Mapping[str, Mapping[str, Any]], expected: Iterable[str] = ()) -> list[str]:
    """The backups of one host: a line for each kind, and what else is to be known of it.

    :param kinds: as ``backup_catalogue.summary()``.
    :param expected: kinds that the host should have.
    """
    found = []
    for kind in dict.fromkeys((*expected, *kinds)):
        told = _of_kind(kinds[kind]) if kind in kinds else ["none was ever made"]
        found += [f"{kind}: {text}" for text in told]
    return found


def _of_kind(known: Mapping[str, Any]) -> list[str]:
    last, bad = known["last_good"], known["bad"]
    counts = ([f"{known['count']} good"] if last else []) + ([f"{len(bad)} bad"] if bad else [])
    parts = [_made(last), _trend(known["size_trend"]), _verified(known)] if last else ["no good backup"]
    told = ["; ".join([*parts, ", ".join(counts)] if counts else parts)]
    types = known["last_good_by_type"]
    if len(types) > 1:
        oldest_first = sorted(types.items(), key=lambda named: -named[1]["age_s"])
        told.append(", ".join(f"the last {name} {span(one['age_s'])} ago" for name, one in oldest_first))
    told += [f"{one['label']} is bad: {' '.join(one['faults']) or 'no reason given'}" for one in bad[: -NAMED - 1 : -1]]
    if len(bad) > NAMED:
        told.append(f"and {len(bad) - NAMED} older ones are bad")
    return told


def _made(last: Mapping[str, Any]) -> str:
    type_ = f" ({last['type']})" if last["type"] else ""
    return (
        f"{last['label']}{type_}, {span(last['age_s'])} ago ({last['time']}), of {size_text(last['size_bytes'])}, "
        f"{size_text(last['stored_bytes'])} of it new in the store"
    )


def _trend(trend: Mapping[str, Any]) -> str:
    if trend["ratio"] is None:
        return "none to compare its size with"
    return f"{trend['ratio']:.2f} times the median of the {trend['count']} before"


def _verified(known: Mapping[str, Any]) -> str:
    if known["last_good"]["verified"]:
        return f"verified on {known['last_good']['verified_time']}"
    last = known["last_verified"]
    if last is None:
        return "never was one verified"
    return f"not verified yet, the last that is: {last['label']}, on {last['verified_time']}"
