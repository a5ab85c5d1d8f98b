"""Websocket"""

from __future__ import annotations

import json
import uuid

from edge_lab import ODOO
from edge_wire import Connection, WebSocket, ask

SEND = """
env.ref("base.user_admin")._bus_send("slipway/test", {{"mark": "{mark}"}})
env.cr.commit()
"""


def test_bus_message(application, odoo, edge, observed) -> None:
    """A message that Odoo sends to a user arrives on that user's websocket."""
    mark = uuid.uuid4().hex
    origin = [*odoo.headers, ("Origin", f"https://{ODOO}")]
    with Connection(ODOO, timeout=40) as connection:
        socket = WebSocket(connection, "/websocket", origin)
        assert socket.status == 101
        socket.say(json.dumps({"event_name": "subscribe", "data": {"channels": [], "last": 0}}))
        shell = "runuser -u odoo-main -- odoo shell --config=/etc/odoo/main.conf --no-http --log-level=error"
        done = edge.run(f"printf %%s %s | {shell}", SEND.format(mark=mark))
        assert done.rc == 0, done.stderr
        for text in socket.texts():
            found = [one["message"] for one in json.loads(text) if mark in str(one)]
            if found:
                assert found == [{"type": "slipway/test", "payload": {"mark": mark}}]
                break
        else:
            raise AssertionError("the websocket was closed before the message came")
    observed("arrived")


def test_stays_open(application, odoo, observed) -> None:
    """A silent websocket outlives the times that end other connections."""
    with Connection(ODOO, timeout=10) as connection:
        assert WebSocket(connection, "/websocket", [*odoo.headers, ("Origin", f"https://{ODOO}")]).status == 101
        assert connection.closed_within(8) is None
    observed("open after 8 s")


def test_no_other_upgrade(application, observed) -> None:
    """An upgrade to anything else, or elsewhere, is passed on as a plain request."""
    websocket = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")]
    h2c = [
        ("Upgrade", "h2c"),
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
    ]
    for path, headers in (("/x", websocket), ("/websocket", h2c), ("/x", h2c)):
        answer = ask(path, headers=headers)
        assert answer.status == 200
        assert answer.echo.values("Upgrade") == []
        assert "upgrade" not in " ".join(answer.echo.values("Connection")).lower()
    observed("200 without Upgrade")


def test_websocket_upgrade_is_passed_on(application, observed) -> None:
    """To /websocket the upgrade itself goes through."""
    headers = [("Upgrade", "websocket"), ("Connection", "keep-alive, Upgrade"), ("Sec-WebSocket-Version", "13")]
    echo = ask("/websocket", headers=[*headers, ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")]).echo
    assert echo.values("Upgrade") == ["websocket"]
    assert "upgrade" in echo.values("Connection")[0].lower()
    observed("Upgrade: websocket")
