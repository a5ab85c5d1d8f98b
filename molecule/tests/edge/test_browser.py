"""A real browser"""

from __future__ import annotations

import base64
import json
import pathlib

from edge_lab import ODOO, SCREENSHOTS, SERVER

PROGRAM = pathlib.Path(__file__).with_name("edge_chromium.py")
PICTURE = "/tmp/screenshot.png"


def test_chromium(all_hosts, secrets, observed) -> None:
    """Chromium logs in to Odoo and opens the Apps page: no error on its console, nothing that the CSP would refuse."""
    client = all_hosts["client1"]
    done = client.run(
        "printf %%s %s > /tmp/chromium.py; echo %s | HOME=/root timeout 120 python3 /tmp/chromium.py %s %s",
        *(PROGRAM.read_text(), secrets["demo_admin_password"], f"https://{ODOO}", PICTURE),
    )
    picture = client.run("base64 %s", PICTURE)
    if picture.rc == 0:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        (SCREENSHOTS / f"{SERVER}.png").write_bytes(base64.b64decode(picture.stdout))
    assert done.rc == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    complaints = [
        entry for entry in seen["log"] if entry["level"] == "SEVERE" or "Content Security Policy" in entry["message"]
    ]
    assert complaints == []
    assert seen["apps"] > 20
    observed("Apps opens")
