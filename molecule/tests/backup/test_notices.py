"""People are told once when a job keeps failing, and once when it is good again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

PORT = 8899
NOTICES = "/run/slipway-test-notices"
LISTENER = f"""
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        open("{NOTICES}", "ab").write(body + b"\\n")
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", {PORT}), Handler).serve_forever()
"""


@pytest.fixture
def notices(box: Any) -> Iterator[Callable[[], list[dict[str, str]]]]:
    """What the webhook of the host was told."""
    box.sh(f": >{NOTICES}; systemd-run --quiet --unit=slipway-test-listener python3 -c '{LISTENER}'")
    box.sh(f"timeout 10 bash -c 'until (: </dev/tcp/127.0.0.1/{PORT}) 2>/dev/null; do sleep 0.1; done'")
    with box.configured(notify={"webhook_url": f"http://127.0.0.1:{PORT}/"}):
        yield lambda: [json.loads(line) for line in box.sh(f"cat {NOTICES}").splitlines()]
    box.sh(f"systemctl stop slipway-test-listener; rm {NOTICES}")


def test_three_failures_are_told_once_and_the_recovery_once(
    box: Any, notices: Callable[[], list[dict[str, str]]]
) -> None:
    with box.configured(store={"bucket": "slipway-no-such-bucket"}):
        for told in (0, 0, 1, 1):
            box.fails("files", "slipway-no-such-bucket")
            assert len(notices()) == told
    [notice] = notices()
    assert (notice["host"], notice["subject"]) == (
        "box1",
        f"[slipway backup {notice['site']} box1] FAILING: job:files",
    )
    assert "has failed 3 times in a row" in notice["text"]
    assert "slipway-no-such-bucket" in notice["text"]
    assert "FAILING" not in box.run("files").said
    [_failing, recovered] = notices()
    assert recovered["subject"].endswith("recovered: job:files")
    assert "is good again" in recovered["text"]
    box.run("files")
    assert len(notices()) == 2
