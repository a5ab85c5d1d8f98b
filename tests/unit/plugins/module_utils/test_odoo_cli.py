"""Running Odoo: a stand-in for its start script shows what reaches it, and what is made of its log."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_cli
from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_cli import (
    OdooRun,
    environment,
    exception_text,
    log_directory,
    read_loaded,
    read_log,
    run_odoo,
    run_shell,
    run_source,
    scrub,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig

ME = pwd.getpwuid(os.getuid()).pw_name
STAMP = "2026-03-01 10:15:00,123 4242"

# What `odoo shell` does with its standard input (odoo/cli/shell.py), and a cursor that remembers.
STAND_IN = """\
#!{python}
import json, os, sys
log = next(a.split("=", 1)[1] for a in sys.argv if a.startswith("--logfile="))
with open({report!r}, "w") as stream:
    json.dump({{"argv": sys.argv[1:], "environ": dict(os.environ), "umask": os.umask(0)}}, stream)
def note(text):
    with open(log, "a") as stream:
        stream.write("{stamp} INFO db odoo.test: " + text + "\\n")
class Cursor:
    def commit(self): note("commit")
    def rollback(self): note("rollback")
class Registry:
    def signal_changes(self): note("signal")
class Env:
    cr = Cursor()
    registry = Registry()
if "shell" in sys.argv:
    print("noise on the standard output")
    exec(sys.stdin.read(), {{"env": Env(), "note": note}})
else:
{server}
"""


@pytest.fixture
def make(tmp_path):
    def build(server="pass", **options):
        (tmp_path / "log").mkdir(exist_ok=True)
        script = tmp_path / "odoo"
        report = tmp_path / "report.json"
        text = STAND_IN.format(
            python=sys.executable,
            report=str(report),
            stamp=STAMP,
            server=textwrap.indent(textwrap.dedent(server), "    "),
        )
        script.write_text(text)
        script.chmod(0o755)
        config = OdooConfig(
            path="/etc/odoo/main.conf",
            odoo_bin=str(script),
            user=ME,
            logfile=str(tmp_path / "log" / "odoo.log"),
            **options,
        )
        return config, lambda: json.loads(report.read_text())

    return build


def test_a_run_gets_quiet_options_a_clean_environment_and_its_own_log(make, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "leaks")
    monkeypatch.setenv("ODOO_RC", "/elsewhere")
    config, report = make("print('to the log as well')", db_sslrootcert="/etc/odoo/ca.crt")
    run = run_odoo(config, "main", ["-i", "crm"], purpose="modules", timeout=60)
    assert not run.failed
    seen = report()
    assert seen["argv"][:7] == ["-c", "/etc/odoo/main.conf", "-d", "main", "-i", "crm", "--stop-after-init"]
    assert {"--no-http", "--workers=0", "--max-cron-threads=0", "--limit-memory-hard=0"} <= set(seen["argv"])
    assert seen["environ"]["PGSSLROOTCERT"] == "/etc/odoo/ca.crt"
    assert seen["environ"]["HOME"] == pwd.getpwnam(ME).pw_dir
    assert not {"PGPASSWORD", "ODOO_RC"} & set(seen["environ"])
    assert seen["umask"] == 0o027
    assert run.log_file.endswith("-modules.log")
    assert os.stat(run.log_file).st_mode & 0o777 == 0o640
    with open(run.log_file) as stream:
        assert stream.read() == "to the log as well\n"


def test_the_exit_code_and_the_log_are_both_heard(make):
    config, _report = make("raise ValueError('boom')")
    run = run_odoo(config, "main", [], purpose="modules", timeout=60)
    assert run.failed
    assert run.code == 1
    assert run.reason() == "ValueError: boom"


def test_a_run_that_takes_too_long_is_ended_with_all_its_children(make, tmp_path):
    config, _report = make(
        f"""
        import subprocess
        child = subprocess.Popen(["sleep", "60"])
        open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
        child.wait()
        """
    )
    begun = time.monotonic()
    run = run_odoo(config, "main", [], purpose="modules", timeout=2)
    assert time.monotonic() - begun < 30
    assert run.timed_out
    assert "longer than the time limit" in run.reason()
    child = int((tmp_path / "child").read_text())
    for _attempt in range(50):
        if not alive(child):
            break
        time.sleep(0.1)
    assert not alive(child)


def test_a_daemon_that_holds_the_output_is_not_waited_for(make, monkeypatch, tmp_path):
    monkeypatch.setattr(odoo_cli, "_LAST_WORDS", 0.5)
    config, _report = make()
    script = f"""
import subprocess, time
daemon = subprocess.Popen(["sleep", "60"], start_new_session=True)
open({str(tmp_path / "child")!r}, "w").write(str(daemon.pid))
time.sleep(60)
"""
    begun = time.monotonic()
    with pytest.raises(SlipwayError, match="longer than the time limit"):
        run_source(config, "main", script, filename="x.py", purpose="shell", timeout=1)
    assert time.monotonic() - begun < 20
    daemon = int((tmp_path / "child").read_text())
    assert alive(daemon)
    os.kill(daemon, signal.SIGKILL)


def alive(pid):
    """Whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_odoo_dies_with_the_run_that_started_it(make, tmp_path):
    pid_file = tmp_path / "pid"
    config, _report = make(
        f"""
        import time
        open({str(pid_file)!r}, "w").write(str(os.getpid()))
        time.sleep(60)
        """
    )
    program = textwrap.dedent(
        f"""
        import sys
        sys.path[:0] = {sys.path!r}
        from ansible_collections.slipway.odoo.plugins.module_utils import odoo_cli, odoo_config
        config = odoo_config.{config!r}
        odoo_cli.run_odoo(config, "main", [], purpose="modules", timeout=60)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        for _attempt in range(200):
            if pid_file.exists() and pid_file.read_text():
                break
            time.sleep(0.05)
        child = int(pid_file.read_text())
        assert alive(child)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        for _attempt in range(50):
            if not alive(child):
                break
            time.sleep(0.1)
        assert not alive(child)
    finally:
        parent.kill()


def test_shell_json_in_and_out_and_nothing_secret_outside_the_pipe(make):
    config, report = make()
    payload = {"password": "p'ä\"\\ss {}%", "list": [1, None, True]}
    source = 'result = {"back": payload, "filename": finish.__code__.co_filename}'
    result = run_shell(
        config,
        "main",
        "def finish(): pass\n" + source,
        payload,
        filename="<finish>",
        purpose="database",
        secrets=[payload["password"]],
    )
    assert result == {"back": payload, "filename": "<finish>"}
    seen = report()
    assert seen["argv"][:5] == ["shell", "-c", "/etc/odoo/main.conf", "-d", "main"]
    assert payload["password"] not in json.dumps([seen["argv"], seen["environ"]])
    assert "--log-handler=odoo.sql_db:CRITICAL" in seen["argv"]


def log_of(config):
    (name,) = os.listdir(os.path.dirname(config.logfile))
    path = os.path.join(os.path.dirname(config.logfile), name)
    with open(path) as stream:
        return path, stream.read()


@pytest.mark.parametrize(("commit", "words"), [(True, ["commit", "rollback", "signal"]), (False, ["rollback"])])
def test_shell_commits_or_rolls_back(make, commit, words):
    config, _report = make()
    assert run_shell(config, "main", "result = 1", {}, filename="<x>", purpose="x", commit=commit) == 1
    path, text = log_of(config)
    assert [line.rsplit(" ", 1)[1] for line in text.splitlines()] == words
    assert os.stat(path).st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ValueError('secret-123 is refused')", "ValueError: ******** is refused"),
        ("result = object()", "TypeError: Object of type object is not JSON serializable"),
        ("raise SystemExit(0)", "it ended with code 0"),
        ("this is no Python", "SyntaxError: invalid syntax"),
    ],
)
def test_a_source_that_fails_commits_nothing_and_leaves_no_secret(make, source, reason):
    config, _report = make()
    with pytest.raises(SlipwayError) as caught:
        run_shell(config, "main", source, {}, filename="<x>", purpose="x", secrets=["secret-123"])
    assert f"<x> failed in odoo shell on database 'main': {reason}" in str(caught.value)
    path, text = log_of(config)
    assert "commit" not in text
    assert "rollback" in text
    assert "secret-123" not in text
    assert caught.value.details["log_file"] == path


def test_what_the_source_prints_is_not_taken_for_its_answer(make):
    config, _report = make()
    assert run_shell(config, "main", "print('{}'); result = [1]", {}, filename="<x>", purpose="x") == [1]


def ask(config, source, *payload, **options):
    return run_source(config, "main", source, *payload, filename="ask.py", purpose="x", timeout=60, **options)


@pytest.mark.parametrize("changed", [True, False, None])
def test_a_source_says_whether_it_changed_anything(make, changed):
    config, _report = make()
    answer = ask(config, f"changed = {changed}; print('hush-hush'); result = 1", secrets=["hush-hush"])
    assert (answer.result, answer.changed) == (1, changed)
    assert answer.printed == "noise on the standard output\n********\n"
    assert "hush-hush" not in repr(answer)


def test_a_source_sees_what_it_is_given(make):
    config, _report = make()
    source = "result = [payload, secret_payload, check_mode]"
    answer = ask(config, source, [1], secret_payload={"a": "b"}, check_mode=True, commit=False)
    assert answer.result == [[1], {"a": "b"}, True]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("\n\nraise ValueError('boom')", 3),
        ("def work():\n    raise ValueError('boom')\n\nwork()", 2),
        ("result = 1\nresult = = 2", 2),
        ("import json\njson.loads('{')", 2),
        ("changed = 'yes'", None),
        ("result = {1, 2}", None),
    ],
)
def test_a_failure_names_the_line_of_the_source(make, source, line):
    config, _report = make()
    with pytest.raises(SlipwayError) as caught:
        ask(config, source)
    assert caught.value.details["line"] == line
    assert (f"(ask.py, line {line})" in str(caught.value)) is (line is not None)
    assert "commit" not in log_of(config)[1]


def test_a_source_that_is_to_be_rolled_back_cannot_commit(make):
    config, _report = make()
    with pytest.raises(SlipwayError, match="this run is to be rolled back, so it must not commit"):
        ask(config, "env.cr.commit()", commit=False)
    ask(config, "env.cr.commit()")


def test_missing_programs_and_users_are_not_ready(make, tmp_path):
    config, _report = make()
    with pytest.raises(NotReadyError, match="There is no program"):
        run_odoo(OdooConfig(path="/x", odoo_bin=str(tmp_path / "none"), user=ME), "db", [], purpose="x", timeout=1)
    with pytest.raises(NotReadyError, match="There is no Unix user 'no-such-user'"):
        run_odoo(
            OdooConfig(path="/x", odoo_bin=config.odoo_bin, user="no-such-user"),
            "db",
            [],
            purpose="x",
            timeout=1,
        )


def test_only_root_may_become_somebody_else(monkeypatch):
    monkeypatch.setattr(odoo_cli.os, "geteuid", lambda: 4711)
    with pytest.raises(SlipwayError, match="run this task as root or as that user"):
        odoo_cli.identity("nobody")
    monkeypatch.setattr(odoo_cli.os, "geteuid", lambda: 0)
    entry = pwd.getpwnam("nobody")
    assert odoo_cli.identity("nobody") == {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def test_the_newest_logs_are_kept_and_nothing_else_is_touched(make, tmp_path):
    config, _report = make()
    log = tmp_path / "log"
    for number in range(30):
        (log / f"slipway-20260101T{number:012}-modules.log").write_text("")
    (log / "odoo.log").write_text("")
    (log / "slipway-notes.log").write_text("")
    run_odoo(config, "main", [], purpose="modules", timeout=60)
    names = sorted(os.listdir(log))
    assert len(names) == odoo_cli.KEPT_LOGS + 2
    assert {"odoo.log", "slipway-notes.log"} <= set(names)
    assert "slipway-20260101T000000000010-modules.log" not in names
    assert "slipway-20260101T000000000011-modules.log" in names


def test_log_directory(tmp_path):
    assert log_directory(OdooConfig(path="/x", user=ME, logfile=f"{tmp_path}/odoo.log")) == str(tmp_path)
    config = OdooConfig(path="/x", user=ME, logfile=f"{tmp_path}/none/odoo.log", data_dir=str(tmp_path))
    assert log_directory(config) == str(tmp_path)


def test_environment_without_a_certificate():
    assert "PGSSLROOTCERT" not in environment(OdooConfig(path="/x", user=ME))


LOG = f"""\
{STAMP} INFO db odoo.modules.loading: Loading module good (1/2)
{STAMP} WARNING db odoo.modules.loading: invalid module names, ignored: ghost
{STAMP} ERROR db odoo.something: an older complaint - - -
{STAMP} INFO db odoo.modules.loading: Loading module broken (2/2)
{STAMP} WARNING db odoo.modules.loading: Transient module states were reset
{STAMP} ERROR db odoo.registry: Failed to load registry
{STAMP} CRITICAL db odoo.service.server: Failed to initialize database `db`.
Traceback (most recent call last):
  File "/odoo/tools/convert.py", line 1, in _tag_record
    raise ValueError("inner")
    ~~~~~^^^^^^^^^^^^^^^^^^^^
ValueError: inner

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/odoo/service/server.py", line 1506, in preload_registries
    registry = Registry.new(dbname)
               ^^^^^^^^^^^^^^^^^^^^
odoo.tools.convert.ParseError: while parsing file:/srv/addons/broken/data.xml:3
View inheritance may not use attribute 'x'
{STAMP} INFO db odoo.service.server: Stopping workers gracefully
"""


def test_a_log_tells_the_module_and_the_exception():
    errors, traceback, module, broken = read_log(LOG)
    assert [line.split()[3] for line in errors] == ["ERROR", "ERROR", "CRITICAL"]
    assert traceback[0] == "Traceback (most recent call last):"
    assert not [line for line in traceback if "^" in line]
    assert traceback[-2:] == ("View inheritance may not use attribute 'x'", "caused by ValueError: inner")
    assert module == "broken"
    assert broken
    run = OdooRun(code=0, log_file="/x", errors=errors, traceback=traceback, module=module, broken=broken)
    assert run.failed
    assert run.reason() == (
        "odoo.tools.convert.ParseError: while parsing file:/srv/addons/broken/data.xml:3 "
        "View inheritance may not use attribute 'x' caused by ValueError: inner"
    )


def test_a_log_in_json_tells_the_same():
    records = []
    for line in LOG.splitlines():
        if line.startswith(STAMP):
            level, _database, rest = line[len(STAMP) + 1 :].split(" ", 2)
            logger, message = rest.split(": ", 1)
            records.append({"level": level, "logger": logger, "message": message})
        else:
            records[-1]["traceback"] = records[-1].get("traceback", "") + line + "\n"
    common = {"time": "2026-03-01T10:15:00.123+00:00", "pid": 4242, "database": "db"}
    text = "".join(json.dumps({**common, **record}) + "\n" for record in records)
    errors, *rest = read_log(text)
    assert rest == list(read_log(LOG)[1:])
    assert errors[-1] == (
        "2026-03-01T10:15:00.123+00:00 4242 CRITICAL db odoo.service.server: Failed to initialize database `db`."
    )


@pytest.mark.parametrize("line", ["{", "{}", "[1]", '{"level": 1}', '{"time": 1, "level": 2, "message": null}'])
def test_other_lines_that_look_like_json_do_no_harm(line):
    assert read_log(line + "\n") == ((), (), "", False)


def test_e61_a_module_called_error_is_no_error():
    text = (
        f"{STAMP} INFO db odoo.modules.loading: Loading module scheduler_error_mailer (1/1)\n"
        f"{STAMP} INFO db odoo.modules.loading: Module scheduler_error_mailer loaded in 0.10s, 5 queries\n"
    )
    assert read_log(text) == ((), (), "", False)


def test_a_log_names_what_was_changed_to_its_end():
    text = f"{STAMP} INFO db odoo.modules.loading: Module good loaded in 0.10s, 5 queries\n{LOG}"
    assert read_loaded(text) == ("good",)


def test_a_log_that_breaks_off_names_the_module():
    assert read_log(f"{STAMP} INFO db odoo.modules.loading: Loading module slow (1/1)\n")[2] == "slow"


def test_an_import_that_fails_names_the_module():
    text = (
        f"{STAMP} CRITICAL db odoo.modules.module: Couldn't load module broken\n"
        "Traceback (most recent call last):\nX: y\n"
    )
    assert read_log(text)[2] == "broken"


def test_the_last_line_is_the_reason_where_there_is_no_other(make):
    config, _report = make("print('odoo: error: no such option: --nonsense'); raise SystemExit(2)")
    run = run_odoo(config, "main", [], purpose="x", timeout=60)
    assert run.reason() == "it ended with code 2: odoo: error: no such option: --nonsense"


@pytest.mark.parametrize(
    ("traceback", "text"),
    [
        (["Traceback (most recent call last):", "  File x", "E: a"], "E: a"),
        (["Traceback (most recent call last):", "  File x"], "File x"),
        (["E: " + "x" * 900], "E: " + "x" * 497),
    ],
)
def test_exception_text(traceback, text):
    assert exception_text(traceback) == text


def test_scrub_finds_every_way_of_quoting():
    secret = 'it\'s "1"\n\\'
    for form in (
        secret,
        repr(secret),
        json.dumps(secret),
        json.dumps(secret, ensure_ascii=False),
        "'" + secret.replace("'", "''") + "'",
    ):
        assert secret not in scrub(f"before {form} after", [secret])
        assert "********" in scrub(f"before {form} after", [secret])
    assert scrub("nothing", ["", "x1"]) == "nothing"


def test_the_exception_that_led_to_another_is_told() -> None:
    text = """\
2026-11-20 10:00:00,000 7 CRITICAL main odoo.modules.registry: Failed to load registry
Traceback (most recent call last):
  File "fields.py", line 1, in get
    raise ValueError
ValueError: Invalid field 'nofield' in 'res.partner'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "convert.py", line 2, in parse
    raise ParseError
odoo.tools.convert.ParseError: while parsing v.xml:1, somewhere inside
<record/>
"""
    _errors, traceback, _module, _broken = odoo_cli.read_log(text)
    assert traceback[-1] == "caused by ValueError: Invalid field 'nofield' in 'res.partner'"
    assert odoo_cli.exception_text(traceback) == (
        "odoo.tools.convert.ParseError: while parsing v.xml:1, somewhere inside <record/> "
        "caused by ValueError: Invalid field 'nofield' in 'res.partner'"
    )


def test_two_failures_are_not_taken_for_one() -> None:
    record = "2026-11-20 10:00:00,000 7 ERROR main odoo: failed\n"
    one = 'Traceback (most recent call last):\n  File "a", line 1\n{}: boom\n'
    _errors, traceback, _module, _broken = odoo_cli.read_log(
        record + one.format("KeyError") + record + one.format("OSError")
    )
    assert odoo_cli.exception_text(traceback) == "OSError: boom"
