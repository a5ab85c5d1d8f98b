"""The Odoo instance as the role odoo leaves it."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import odoo_options

OPTIONS_SCRIPT = (
    "import json; from odoo.tools import config; "
    "print(json.dumps([o.dest for o in config.options_index.values() if o.file_loadable]))"
)


def main_pid(application: Any) -> int:
    return int(application.check_output("systemctl show --value --property MainPID odoo@main.service"))


def test_the_instance_runs_and_comes_back_after_a_boot(application: Any) -> None:
    service = application.service("odoo@main.service")
    assert service.is_running
    assert service.is_enabled


def test_the_packages_own_service_cannot_run(application: Any) -> None:
    assert application.check_output("systemctl show --value --property LoadState odoo.service") == "masked"


def test_the_sandbox_is_tight(application: Any) -> None:
    report = application.check_output("systemd-analyze security --no-pager odoo@main.service").splitlines()[-1]
    assert float(report.split(":")[1].split()[0]) <= 2.0, report


def test_the_configuration_is_for_the_instance_alone(application: Any) -> None:
    file = application.file("/etc/odoo/main.conf")
    assert (file.user, file.group, oct(file.mode)) == ("odoo-main", "root", "0o400")
    assert "admin_passwd = $pbkdf2-sha512$" in file.content_string
    assert "list_db = False" in file.content_string


def test_the_options_we_know_are_those_odoo_knows(application: Any) -> None:
    real = set(json.loads(application.check_output("cd /; runuser -u odoo-main -- python3 -c %s", OPTIONS_SCRIPT)))
    assert real
    assert real == set(odoo_options.KNOWN["19.0"])


def test_modules_of_all_waves_are_installed_without_demo_data(sql: Any) -> None:
    installed = {row[0] for row in sql("SELECT name FROM ir_module_module WHERE state = 'installed'")}
    assert {"base", "web", "contacts", "calendar"} <= installed
    assert sql("SELECT count(*) FROM ir_module_module WHERE demo OR state LIKE 'to %'") == [["0"]]


def test_the_base_url_is_frozen(sql: Any, browser: Any) -> None:
    parameters = dict(sql("SELECT key, value FROM ir_config_parameter WHERE key LIKE 'web.base.url%'"))
    assert parameters == {"web.base.url": browser.url, "web.base.url.freeze": "True"}


def test_it_comes_back_when_it_dies(application: Any) -> None:
    before = main_pid(application)
    application.check_output(f"kill -KILL {before}")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if main_pid(application) not in (0, before) and answers(application):
            return
        time.sleep(0.5)
    raise AssertionError("it did not come back within 60 s")


def answers(application: Any) -> bool:
    address = application.check_output("sed -n 's/^http_interface = //p' /etc/odoo/main.conf")
    return application.run("curl --fail --silent --max-time 5 http://%s:8069/web/health", address).rc == 0


def test_a_reload_loses_no_request_and_keeps_the_main_process(application: Any, browser: Any) -> None:
    before, outcomes, stop = main_pid(application), [], threading.Event()

    def ask() -> None:
        while not stop.is_set() and len(outcomes) < 2000:
            try:
                outcomes.append(browser.get("/web/login").status)
            except urllib.error.HTTPError as error:
                outcomes.append(error.code)
            except OSError as error:
                outcomes.append(repr(error))
            time.sleep(0.02)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(1)
    application.check_output("systemctl reload odoo@main.service")
    time.sleep(8)
    stop.set()
    asking.join(timeout=60)
    assert len(outcomes) > 50
    assert set(outcomes) == {200}, [outcome for outcome in outcomes if outcome != 200]
    assert main_pid(application) == before
