# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell people: through the hook ``slipway-notify``, which sends mail and calls a webhook."""

from __future__ import annotations

import email.message
import json
import shutil
import socket
import urllib.error
import urllib.request
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_notice
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from .config import Config
from .host import run, say

HOOK = "/usr/local/sbin/slipway-notify"
TIMEOUT_SECONDS = 15.0


def tell(config: Config, notice: Any) -> None:
    """Hand a notice to the hook. That it fails is told in the journal: it must not make a backup fail."""
    subject, body = backup_notice.text(
        notice, site=config["site"], host=config["host"], secrets=config.secrets.values()
    )
    say(f"notice: {subject}")
    try:
        run([HOOK, subject], stdin=body, what="slipway-notify")
    except SlipwayError as error:
        say(f"nobody could be told: {error}")


def send(config: Config, subject: str, body: str) -> list[str]:
    """Send a message by mail and to the webhook, as the host is configured; returns what did not work."""
    wanted, faults = config["notify"], []
    if wanted["mail_to"]:
        message = email.message.EmailMessage()
        message["Subject"], message["To"] = " ".join(subject.split()), ", ".join(wanted["mail_to"])
        message["From"] = wanted.get("mail_from") or f"slipway@{socket.getfqdn()}"
        message.set_content(body)
        mailer = shutil.which("sendmail", path="/usr/sbin:/usr/lib:/usr/bin")
        try:
            if mailer is None:
                raise SlipwayError("this host has no sendmail: install an MTA such as msmtp-mta")
            run([mailer, "-t", "-oi"], stdin=message.as_string(), what="sendmail")
        except SlipwayError as error:
            faults.append(f"mail: {error}")
    if wanted["webhook_url"]:
        headers = {"Content-Type": "application/json"}
        if config.secrets.get("notify_webhook_token"):
            headers["Authorization"] = f"Bearer {config.secrets['notify_webhook_token']}"
        document = {"site": config["site"], "host": config["host"], "subject": subject, "text": body}
        request = urllib.request.Request(wanted["webhook_url"], data=json.dumps(document).encode(), headers=headers)  # noqa: S310  preflight asks for http(s)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310
                pass
        except (urllib.error.URLError, OSError) as error:
            faults.append(f"webhook: {error}")
    return faults
