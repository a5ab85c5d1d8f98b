"""The site over the edge. The stage verify has probed it already; here is what needs a log-in."""

from __future__ import annotations

import base64
import hashlib
import os
import urllib.error
from typing import Any

import pytest


def test_the_administrator_logs_in_with_the_password_of_the_inventory(browser: Any, secrets: dict[str, str]) -> None:
    browser.log_in(secrets["demo_admin_password"])
    assert browser.call("/web/session/get_session_info")["username"] == "admin"


def test_nobody_logs_in_with_odoos_own_password(browser: Any) -> None:
    with pytest.raises(AssertionError, match=r"AccessDenied|Access Denied"):
        browser.log_in("admin")


def attachments(browser: Any, method: str, *args: Any) -> Any:
    path = f"/web/dataset/call_kw/ir.attachment/{method}"
    return browser.call(path, model="ir.attachment", method=method, args=list(args), kwargs={})


def test_an_attachment_comes_back_whole(
    browser: Any, secrets: dict[str, str], application: Any, single_box: bool
) -> None:
    browser.log_in(secrets["demo_admin_password"])
    content = os.urandom(300_000)
    values = {"name": "probe.bin", "datas": base64.b64encode(content).decode()}
    (number,) = attachments(browser, "create", [values])
    try:
        assert browser.get(f"/web/content/{number}?download=true").read() == content
        # With nginx on the same host Odoo only names the file, and nginx sends it.
        name = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        stored = application.file(f"/var/lib/odoo/main/filestore/main/{name[:2]}/{name}")
        assert stored.exists
        if single_box:
            headers = application.check_output(
                "curl --silent --output /dev/null --dump-header - --header %s http://127.0.0.1:8069/web/content/%s",
                f"Cookie: session_id={browser.cookie('session_id')}",
                f"{number}?download=true",
            )
            assert f"x-accel-redirect: /web/filestore/main/{name[:2]}/{name}" in headers.lower()
            readable = application.run("runuser -u www-data -- head -c 1 %s", stored.path)
            assert readable.rc == 0
            assert application.run("runuser -u www-data -- cat /etc/odoo/main.conf").rc != 0
    finally:
        attachments(browser, "unlink", [number])


def test_the_filestore_has_no_door_of_its_own(browser: Any) -> None:
    with pytest.raises(urllib.error.HTTPError) as answer:
        browser.get("/web/filestore/main/00/00")
    assert answer.value.code == 404
