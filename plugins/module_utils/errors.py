# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one exception base of the collection."""

from __future__ import annotations

from typing import Any


class SlipwayError(Exception):
    """Something the user can act on: what is wrong, where, and what to do.

    :param message: one paragraph, complete in itself.
    :param details: JSON-serialisable extras, returned next to ``msg`` (never a secret).
    """

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details


class NotReadyError(SlipwayError):
    """A thing that an earlier step makes is not there yet.

    In check mode nothing was made, so there this is a prediction and not a fault.
    """
