# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run Odoo as its own Unix user, with the whole log kept and no secret outside a pipe."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import datetime
import grp
import json
import os
import pwd
import re
import secrets as random
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import as_user

#: Options that make a run of its own beside a running service harmless: no port, no cron (E39b), no
#: pid file, and no address-space limit, which is meant for workers and would end a long installation.
QUIET = ("--no-http", "--workers=0", "--max-cron-threads=0", "--limit-memory-hard=0", "--pidfile=")
KEPT_LOGS = 20
#: Seconds for the rest of the output of a run that was ended.
_LAST_WORDS = 5
_TAIL_BYTES = 512 * 1024
_TAIL_LINES = 12
_SHOWN_ERRORS = 20
_RECORD = re.compile(r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.,]\d{3}\S* \d+ (\w+) ")
_LOADING = re.compile(r": (?:Loading module (\S+) \(\d+/\d+\)|Couldn't load module (\S+))")
_LOADED = re.compile(r": Module (\S+) loaded in ")
#: Python 3.11 and later underline the failing part of a line.
_UNDERLINE = re.compile(r"[\s^~]+")
#: What Python writes between the tracebacks of one failure.
_CHAINED = ("The above exception was the direct cause of", "During handling of the above exception,")
_FATAL = re.compile(r" (?:Failed to initialize database|Failed to load registry)")
_PR_SET_PDEATHSIG = 1
#: Signals at the end what `odoo shell` would not: running processes then drop what they had cached.
_PRELUDE = """\
import json as _json, sys as _sys
_slipway = _json.loads({call!r})
_space = {{
    "env": env, "payload": _slipway["payload"], "secret_payload": _slipway["secret_payload"],
    "check_mode": _slipway["check_mode"], "result": None, "changed": None, "__name__": "__slipway__",
}}
def _refuse_commit():
    raise RuntimeError("this run is to be rolled back, so it must not commit")
def _say(answer):
    _sys.stdout.write("\\n" + _slipway["nonce"] + _json.dumps(answer) + _slipway["nonce"] + "\\n")
    _sys.stdout.flush()
if not _slipway["commit"]:
    env.cr.commit = _refuse_commit
try:
    exec(compile(_slipway["source"], _slipway["filename"], "exec"), _space)
    _answer = {{"result": _space["result"], "changed": _space["changed"]}}
    if _answer["changed"] not in (None, True, False):
        raise TypeError("changed must be True or False, not %r" % (_answer["changed"],))
    _json.dumps(_answer)
    if _slipway["commit"]:
        env.cr.commit()
except BaseException as _error:
    _line = _error.lineno if isinstance(_error, SyntaxError) and _error.filename == _slipway["filename"] else None
    _trace = _error.__traceback__
    while _trace:
        if _trace.tb_frame.f_code.co_filename == _slipway["filename"]:
            _line = _trace.tb_lineno
        _trace = _trace.tb_next
    env.cr.rollback()
    _say({{"line": _line}})
    raise
env.cr.rollback()
if _slipway["commit"]:
    env.registry.signal_changes()
_say(_answer)
"""


@dataclasses.dataclass(frozen=True)
class OdooRun:
    """What a run of Odoo left behind.

    ``code`` is its exit code, which is 0 after many a failure: never take it for success. ``errors``
    are the log's ERROR and CRITICAL lines, ``traceback`` the last lines of its last traceback,
    ``module`` the one that was being loaded then, ``loaded`` those that were installed or updated to
    their end, ``last_line`` the log's last line.
    """

    code: int
    log_file: str
    errors: tuple[str, ...] = ()
    traceback: tuple[str, ...] = ()
    module: str = ""
    loaded: tuple[str, ...] = ()
    last_line: str = ""
    broken: bool = False
    timed_out: bool = False
    output: str = dataclasses.field(default="", repr=False)

    @property
    def failed(self) -> bool:
        """Tell whether the run itself admits a failure. The database has the last word."""
        return self.timed_out or self.broken or self.code != 0

    def reason(self) -> str:
        """The shortest true account of a failure."""
        if self.timed_out:
            return "it took longer than the time limit and was ended"
        if self.code < 0:
            return f"it was ended by signal {signal.Signals(-self.code).name}"
        if self.traceback:
            return exception_text(self.traceback)
        if self.errors:
            return self.errors[-1]
        return f"it ended with code {self.code}" + (f": {self.last_line}" if self.last_line else "")


def run_odoo(config: OdooConfig, database: str, arguments: Sequence[str], *, purpose: str, timeout: int) -> OdooRun:
    """Run the server once with ``--stop-after-init``, such as for ``-i``.

    :param arguments: options after ``-c`` and ``-d``; never a secret.
    :param purpose: part of the log file's name.
    :param timeout: seconds.
    :raises NotReadyError: the program or its user is not there.
    """
    command = [config.odoo_bin, "-c", config.path, "-d", database, *arguments, "--stop-after-init"]
    return _run(config, command, purpose=purpose, timeout=timeout)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a source in ``odoo shell`` answered: its ``result``, whether it says that it ``changed`` anything.

    ``changed`` is None where it says nothing. ``printed`` is what it wrote to the standard output.
    """

    result: Any
    changed: bool | None
    printed: str
    run: OdooRun


def run_source(
    config: OdooConfig,
    database: str,
    source: str,
    payload: Any = None,
    *,
    secret_payload: Any = None,
    filename: str,
    purpose: str,
    commit: bool = True,
    check_mode: bool = False,
    secrets: Iterable[str] = (),
    timeout: int,
) -> Answer:
    """Run Python source inside ``odoo shell``.

    The source sees ``env``, ``payload``, ``secret_payload`` and ``check_mode``, and may set ``result`` and
    ``changed``; all but the first are JSON. Everything reaches Odoo through its standard input: nothing on
    the command line, in the environment or on disk.

    :param filename: what the source is called in tracebacks.
    :param commit: commit when the source ends without an exception; otherwise roll back.
    :param secrets: texts that must not stay in the log, nor in an error.
    :raises SlipwayError: the source failed; nothing was committed by us.
    """
    nonce = random.token_hex(16)
    hidden = tuple(secrets)
    call = {
        "source": source,
        "payload": payload,
        "secret_payload": secret_payload,
        "filename": filename,
        "commit": commit,
        "check_mode": check_mode,
        "nonce": nonce,
    }
    command = [config.odoo_bin, "shell", "-c", config.path, "-d", database]
    script = _PRELUDE.format(call=json.dumps(call))
    run = _run(config, command, purpose=purpose, timeout=timeout, script=script, secrets=hidden)
    parts = run.output.split(nonce)
    answer = json.loads(parts[1]) if len(parts) == 3 else {}
    if "result" not in answer:
        line = answer.get("line")
        raise SlipwayError(
            f"{filename} failed in odoo shell on database {database!r}: {run.reason()}"
            f"{f' ({filename}, line {line})' if line else ''}. Log: {run.log_file}",
            line=line,
            log_file=run.log_file,
            traceback=list(run.traceback),
        )
    printed = scrub(parts[0].removesuffix("\n"), hidden)
    return Answer(result=answer["result"], changed=answer["changed"], printed=printed, run=run)


def run_shell(
    config: OdooConfig,
    database: str,
    source: str,
    payload: Any,
    *,
    filename: str,
    purpose: str,
    commit: bool = True,
    secrets: Iterable[str] = (),
    timeout: int = 600,
) -> Any:
    """Run Python source inside ``odoo shell`` and return its ``result``; see :func:`run_source`."""
    return run_source(
        config,
        database,
        source,
        payload,
        filename=filename,
        purpose=purpose,
        commit=commit,
        secrets=tuple(secrets),
        timeout=timeout,
    ).result


def require_runnable(config: OdooConfig) -> None:
    """Find out before anything is changed whether Odoo can be run.

    :raises NotReadyError: its program, its user or a place for the log is missing.
    :raises SlipwayError: we may not become that user.
    """
    if not os.access(config.odoo_bin, os.X_OK):
        raise NotReadyError(f"There is no program {config.odoo_bin}: install Odoo, or set odoo_bin")
    identity(config.user)
    log_directory(config)


def _run(
    config: OdooConfig,
    command: list[str],
    *,
    purpose: str,
    timeout: int,
    script: str | None = None,
    secrets: tuple[str, ...] = (),
) -> OdooRun:
    require_runnable(config)
    become = identity(config.user)
    log_file, log = _open_log(config, purpose, private=script is not None)
    command = [
        *command,
        *QUIET,
        f"--logfile={log_file}",
        "--log-level=info",
        "--log-handler=odoo.modules.loading:INFO",
        # Its errors quote the statement with all values.
        *(["--log-handler=odoo.sql_db:CRITICAL"] if script is not None else []),
    ]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if script is None else subprocess.PIPE,
            stdout=log if script is None else subprocess.PIPE,
            stderr=log,
            env=environment(config),
            cwd="/",
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - modules have one thread
            umask=0o027,
            **become,
        )
    except OSError as error:
        raise SlipwayError(f"{config.odoo_bin} cannot be started as {config.user}: {error}") from error
    finally:
        os.close(log)
    output, timed_out = _wait(process, script, timeout)
    text = _finish_log(config, log_file, secrets)
    errors, traceback, module, broken = read_log(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return OdooRun(
        code=process.returncode,
        log_file=log_file,
        errors=errors,
        traceback=traceback,
        module=module,
        loaded=read_loaded(text),
        last_line=lines[-1] if lines else "",
        broken=broken,
        timed_out=timed_out,
        output=output,
    )


def _wait(process: Any, script: str | None, timeout: int) -> tuple[str, bool]:
    try:
        output, _unused = process.communicate(None if script is None else script.encode(), timeout=timeout or None)
        return (output or b"").decode(errors="replace"), False
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    try:
        output, _unused = process.communicate(timeout=_LAST_WORDS)
    except subprocess.TimeoutExpired as expired:
        # Something that made itself a daemon holds the pipe.
        output = expired.output
        if process.stdout:
            process.stdout.close()
        process.wait()
    return (output or b"").decode(errors="replace"), True


def identity(user: str) -> dict[str, Any]:
    """Arguments for Popen that make the child another user; empty where it already is."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise NotReadyError(f"There is no Unix user {user!r} on this host") from error
    if entry.pw_uid == os.geteuid():
        return {}
    if os.geteuid() != 0:
        raise SlipwayError(f"Odoo must run as {user!r}: run this task as root or as that user (become)")
    groups = [group.gr_gid for group in grp.getgrall() if user in group.gr_mem]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}


def environment(config: OdooConfig) -> dict[str, str]:
    """The child's whole environment: Odoo 19 prefers variables to its file, so none leak in."""
    values = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": pwd.getpwnam(config.user).pw_dir,
        "USER": config.user,
        "LOGNAME": config.user,
        "LANG": "C.UTF-8",
        # `syslog = True` excludes a log file, and there is no option to switch it off.
        "ODOO_SYSLOG": "False",
    }
    if config.db_sslrootcert:
        values["PGSSLROOTCERT"] = config.db_sslrootcert
    return values


def _die_with_parent() -> None:
    """Let Odoo die with us: a run that outlived its lock would meet the next one."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        os._exit(1)


def log_directory(config: OdooConfig) -> str:
    """Where the instance keeps its log; without a log file, its data directory.

    :raises NotReadyError: neither is there.
    """
    candidates = [os.path.dirname(config.logfile), config.data_dir, pwd.getpwnam(config.user).pw_dir]
    for candidate in candidates:
        if candidate and os.path.isdir(candidate):
            return candidate
    raise NotReadyError(f"{config.path} names no log file or data directory that exists")


def _open_log(config: OdooConfig, purpose: str, *, private: bool) -> tuple[str, int]:
    """Make this run's log as Odoo's user, so no link laid by that user is followed as root."""
    directory = log_directory(config)
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%S%f")
    path = os.path.join(directory, f"slipway-{stamp}-{purpose}.log")
    try:
        with as_user(config.user):
            _drop_old_logs(directory)
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW
            return path, os.open(path, flags, 0o600 if private else 0o640)
    except OSError as error:
        raise SlipwayError(f"User {config.user!r} cannot write {path}: {error.strerror}") from error


def _drop_old_logs(directory: str) -> None:
    logs = sorted(name for name in os.listdir(directory) if re.fullmatch(r"slipway-\d{8}T\d{12}-[\w-]+\.log", name))
    for name in logs[: -(KEPT_LOGS - 1)]:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(directory, name))


def _finish_log(config: OdooConfig, path: str, secrets: tuple[str, ...]) -> str:
    """Return the log's end, after taking every secret out of the whole file."""
    try:
        with as_user(config.user), open(path, "r+b") as stream:
            if secrets:
                data = stream.read()
                clean = scrub(data.decode(errors="replace"), secrets).encode()
                if clean != data:
                    stream.seek(0)
                    stream.write(clean)
                    stream.truncate()
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL_BYTES))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Replace every secret, also in the ways that SQL and Python would quote it."""
    forms = set()
    for secret in secrets:
        if secret:
            forms.update((secret, repr(secret)[1:-1], secret.replace("'", "''")))
            forms.update(json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False))
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "********")
    return text


def read_log(text: str) -> tuple[tuple[str, ...], tuple[str, ...], str, bool]:
    """Find what went wrong in a log.

    :returns: ERROR and CRITICAL lines, the last lines of the last traceback, the module that was being
        loaded then, and whether the registry could not be loaded at all. Where one exception led to another,
        the first one follows the last, for that is what went wrong.
    """
    errors: list[str] = []
    traceback: list[str] = []
    loading = failed_in = cause = ""
    inside = broken = False
    for line in _plain_lines(text):
        record = _RECORD.match(line)
        if record:
            inside = False
            found = _LOADING.search(line)
            if found:
                loading = found[1] or found[2]
            elif _LOADED.search(line):
                loading = ""
            if record[1] in ("ERROR", "CRITICAL"):
                errors.append(line.rstrip())
                broken = broken or bool(_FATAL.search(line))
        if line.startswith("Traceback (most recent call last):"):
            cause = (cause or exception_text(traceback)) if inside else ""
            inside, traceback, failed_in = True, [], loading
        if inside and line.startswith(_CHAINED):
            continue
        if inside and not _UNDERLINE.fullmatch(line or " "):
            traceback.append(line.rstrip())
    if cause:
        traceback.append(f"caused by {cause}")
    return (
        tuple(errors[-_SHOWN_ERRORS:]),
        tuple(traceback[-_TAIL_LINES:]),
        failed_in or loading,
        broken,
    )


def read_loaded(text: str) -> tuple[str, ...]:
    """The modules that a log calls loaded: it does so at level INFO for those that it changed only."""
    found = (_LOADED.search(line) for line in _plain_lines(text))
    return tuple(match[1] for match in found if match)


def _plain_lines(text: str) -> Iterator[str]:
    """The lines of a log; records that role odoo's JSON format made are turned into Odoo's own form."""
    for line in text.splitlines():
        try:
            entry = json.loads(line) if line.startswith("{") else None
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or not {"time", "level", "message"} <= entry.keys():
            yield line
            continue
        head = f"{entry['time']} {entry.get('pid', 0)} {entry['level']} {entry.get('database') or '?'}"
        yield from f"{head} {entry.get('logger', '')}: {entry['message']}".splitlines()
        yield from str(entry.get("traceback") or "").splitlines()


def exception_text(traceback: Sequence[str]) -> str:
    """The exception of a traceback without its frames, on one line."""
    text: list[str] = []
    for line in traceback:
        if line.startswith((" ", "Traceback ")):
            text = []
        else:
            text.append(line.strip())
    return " ".join(text)[:500] or traceback[-1].strip()
