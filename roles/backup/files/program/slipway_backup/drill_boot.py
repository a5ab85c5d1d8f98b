# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Odoo in a drill: in a network of its own, with the scratch cluster's socket and nothing else to reach."""

from __future__ import annotations

import configparser
import json
import os
import pathlib
import secrets
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_drill
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from .drill_cluster import PORT, Cluster
from .drill_scratch import UNITS, CommandError, execute, own
from .host import write

TIMEOUT_SECONDS = 1800
_ANSWER = "slipway-drill-answer:"
#: Runs in `odoo shell`. Second factors would need a device, or mail.
_ADMINISTRATOR = """\
import json
_given = json.loads({given!r})
_user = env.ref("base.user_admin", raise_if_not_found=False)
if not (_user and _user.active and _user.has_group("base.group_system")):
    _user = env.ref("base.group_system")
    _user = env["res.users"].search([("share", "=", False), ("id", "!=", 1)], order="id").filtered(
        lambda one: one.has_group("base.group_system"))[:1]
_user.write({{"password": _given["password"]}})
env.cr.execute("SELECT 1 FROM information_schema.columns WHERE table_schema = 'public' "
               "AND table_name = 'res_users' AND column_name = 'totp_secret'")
if env.cr.fetchone():
    env.cr.execute("UPDATE res_users SET totp_secret = NULL WHERE id = %s", [_user.id])
env["ir.config_parameter"].sudo().search([("key", "in", ["auth_totp.policy"])]).unlink()
env.cr.commit()
print({answer!r} + json.dumps({{"uid": _user.id, "login": _user.login}}))
"""


class Boot:
    """One instance, on its restored database and files."""

    def __init__(
        self,
        *,
        instance: Mapping[str, Any],
        odoo: str,
        owner: str,
        directory: pathlib.Path,
        cluster: Cluster,
        config: str,
        moved: Mapping[str, str],
    ) -> None:
        """
        :param config: Text of the instance's configuration.
        :param moved: Directories of addons that were restored, and where to.
        """
        self._instance, self._odoo, self._cluster = instance, odoo, cluster
        self._name, self._database, self._user = instance["name"], instance["database"], instance["user"]
        self._work = directory / f"odoo-{self._name}"
        self.data_dir = self._work / "data"
        own(self._work, self._user, mode=0o700)
        own(self.data_dir, self._user, mode=0o700)
        own(self.data_dir / "filestore", self._user, mode=0o700)
        own(self._work / "log", self._user, mode=0o700)
        self._config = self._work / "odoo.conf"
        text = backup_drill.odoo_config(
            config,
            database=self._database,
            owner=owner,
            socket=str(cluster.sockets),
            port=PORT,
            data_dir=str(self.data_dir),
            password=secrets.token_hex(16),
            moved=moved,
        )
        write(self._config, text, mode=0o400)
        shutil.chown(self._config, self._user, self._user)

    def take_files(self, filestore: pathlib.Path) -> None:
        """Take the restored filestore."""
        target = self.data_dir / "filestore" / self._database
        if filestore.is_dir():
            os.rename(filestore, target)
        else:
            target.mkdir()
        execute(["chown", "-R", "--no-dereference", f"{self._user}:", str(target)], what="chown of the filestore")

    def neutralise(self) -> None:
        """Take mail servers, payment providers, crons and the like out of the copy, and look whether that was done."""
        self._run("neutralise", [self._odoo, "neutralize", "-c", str(self._config), "-d", self._database])
        with self._cluster.connected(self._database) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT value FROM public.ir_config_parameter WHERE key = 'database.is_neutralized'")
            row = cursor.fetchone()
            if not row or row[0] != "true":
                raise SlipwayError(
                    f"database {self._database}: odoo neutralize ended well, and the copy is not neutralised"
                )
            cursor.execute(
                "SELECT count(*) FROM public.ir_mail_server WHERE active AND smtp_host NOT IN ('invalid', 'localhost')"
            )
            if cursor.fetchone()[0]:
                raise SlipwayError(f"database {self._database}: a mail server is still active after neutralising")

    def load(self) -> None:
        """Load the database once, without HTTP."""
        command = [self._odoo, "-c", str(self._config), "-d", self._database, "--no-http", "--stop-after-init"]
        self._run("boot", command)
        self._refuse_errors("boot")

    def log_in(self) -> dict[str, Any]:
        """Start the server in earnest, and log in as an administrator with a password that nobody has.

        :returns: what the log-in answered.
        """
        password = secrets.token_hex(16)
        script = _ADMINISTRATOR.format(given=json.dumps({"password": password}), answer=_ANSWER)
        command = [self._odoo, "shell", "-c", str(self._config), "-d", self._database, "--no-http"]
        said = self._run("password", command, stdin=script)
        answer = next((line for line in said.splitlines() if _ANSWER in line), "")
        if not answer:
            said = self._tail("password")
            raise SlipwayError(f"instance {self._name}: no administrator could be given a password: {said}")
        known = json.loads(answer.split(_ANSWER, 1)[1])
        script_file = self._work / "drill_odoo.py"
        shutil.copyfile(pathlib.Path(__file__).with_name("drill_odoo.py"), script_file)
        os.chmod(script_file, 0o644)
        order = {
            "command": [self._odoo, "-c", str(self._config), "-d", self._database, f"--logfile={self._log('server')}"],
            "url": "http://127.0.0.1:8069",
            "database": self._database,
            "login": known["login"],
            "password": password,
            "timeout": TIMEOUT_SECONDS,
        }
        try:
            said = self._run("server", ["/usr/bin/python3", str(script_file)], stdin=json.dumps(order), logs=False)
        except CommandError as error:
            logged = "".join(f" Its log: {line}" for line in self._errors("server")[-1:])
            raise SlipwayError(f"instance {self._name}: {error}{logged}") from None
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        if found["uid"] != known["uid"]:
            raise SlipwayError(
                f"instance {self._name}: the log-in answers user {found['uid']} instead of {known['uid']}"
            )
        self._refuse_errors("server")
        return found

    def _log(self, phase: str) -> pathlib.Path:
        return self._work / "log" / f"{phase}.log"

    def _errors(self, phase: str) -> list[str]:
        try:
            return backup_drill.log_errors(self._log(phase).read_text(errors="replace"))
        except FileNotFoundError:
            return []

    def _tail(self, phase: str) -> str:
        try:
            lines = self._log(phase).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "there is no log"
        return " / ".join(self._errors(phase)[-1:] or lines[-3:])

    def _refuse_errors(self, phase: str) -> None:
        if not self._log(phase).exists():
            raise SlipwayError(f"instance {self._name}: Odoo wrote no log ({phase}), so nobody knows what it did")
        errors = self._errors(phase)
        if errors:
            count = "an error" if len(errors) == 1 else f"{len(errors)} errors"
            raise SlipwayError(f"instance {self._name}: Odoo logs {count} ({phase}): {errors[0].strip()}")

    def _run(self, phase: str, command: Sequence[str], *, stdin: str | None = None, logs: bool = True) -> str:
        """Run something as the instance's user, where it reaches its files, the scratch cluster and nothing else."""
        work = str(self._work)
        # The real database, files and configuration of this host, and doors to the outside.
        hidden = [
            "/run/postgresql", "/run/dbus", "/run/pgbouncer", "/var/spool/postfix", "/var/spool/exim4", "/var/backups",
            "/var/spool/slipway", self._instance["data_dir"], self._instance["config_file"],
        ]  # fmt: skip
        properties = [
            f"User={self._user}", f"Group={self._user}", f"WorkingDirectory={work}", "UMask=0027",
            "PrivateNetwork=yes", "PrivateTmp=yes", "PrivateDevices=yes", "ProtectHome=yes", "ProtectSystem=strict",
            f"ReadWritePaths={work}", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "RestrictSUIDSGID=yes",
            "KillMode=control-group", f"RuntimeMaxSec={TIMEOUT_SECONDS + 300}",
            *(f"InaccessiblePaths=-{path}" for path in hidden),
        ]  # fmt: skip
        wrapped = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", f"--unit={UNITS}{self._name}-{phase}"]
        for one in properties:
            wrapped += ["-p", one]
        wrapped += ["--setenv", f"HOME={work}", "--setenv", "LC_ALL=C.UTF-8", "--"]
        log = [f"--logfile={self._log(phase)}"] if logs else []
        try:
            return execute([*wrapped, *command, *log], what=f"Odoo of instance {self._name} ({phase})", stdin=stdin)
        except CommandError as error:
            if logs and self._log(phase).exists():
                raise CommandError(f"{error} Its log: {self._tail(phase)}", code=error.code) from None
            raise


def addons_of(config: str) -> list[str]:
    """Directories of addons that a configuration names."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(config)
    except configparser.Error:
        return []
    return [one.strip() for one in parser.get("options", "addons_path", fallback="").split(",") if one.strip()]
