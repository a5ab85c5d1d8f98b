"""Which names of databases are taken, and which are a restore's own."""

from __future__ import annotations

from slipway_backup import restore_names


def test_a_comment_tells_what_a_database_is():
    assert restore_names.mark_of("slipway-restore kept of main: live until noon") == ("kept", "main")
    assert restore_names.mark_of("default administrative connection database") == ("", "")
    assert restore_names.text_of("slipway-restore kept of main: live until noon") == "live until noon"
