"""The part of the benchmark of backups that runs on the host, as root: one verb each, its result as JSON.

Only the work itself is timed here, without SSH and without Ansible. Everything the floors need is below WORK.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import hashlib
import json
import os
import pathlib
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

PROGRAM = "/usr/local/sbin/slipway-backup"
CONFIG = json.loads(pathlib.Path("/etc/slipway/backup.json").read_text())
SECRETS = json.loads(pathlib.Path("/etc/slipway/backup-secrets.json").read_text())
DATABASE = CONFIG["database"]
INSTANCE = CONFIG["files"]["instances"][0]
DATA = pathlib.Path(DATABASE["data_directory"])
FILESTORE = pathlib.Path(INSTANCE["filestore"])
UNIT = f"postgresql@{DATABASE['version']}-{DATABASE['cluster']}.service"
BINARIES = f"/usr/lib/postgresql/{DATABASE['version']}/bin"
WORK = pathlib.Path("/var/lib/slipway-bench")
EMPTY_DATA = f"install -d -m 0700 -o postgres -g postgres {DATA}"
ARCHIVE, UNPACKED, COPY = WORK / "floor.tar.zst", WORK / "unpacked", WORK / "filestore"
FLOOR_PORT = 5499
#: Of PostgreSQL's segments of WAL.
SEGMENT = 16 << 20
NEW_LINE = "\n"


def shell(script: str, *, user: str = "root", environment: dict[str, str] | None = None) -> str:
    """Run a script to its end; what it printed."""
    done = subprocess.run(
        ["runuser", "-u", user, "--", "bash", "-euo", "pipefail", "-c", script],
        cwd="/", env={**os.environ, **(environment or {})}, text=True, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"host: {script}\nfailed with {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done.stdout


def sql(statements: str, *, name: str = INSTANCE["database"]) -> str:
    """Run SQL as PostgreSQL's administrator; the last result, unaligned."""
    command = ["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-p", str(DATABASE["port"]),
               "-d", name]  # fmt: skip
    done = subprocess.run(command, cwd="/", input=statements, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"host: psql: {done.stderr[-1500:]}")
    return done.stdout.strip()


def cpu() -> float:
    """Seconds of CPU that this host has used: no neighbour on the machine makes them more."""
    lines = pathlib.Path("/sys/fs/cgroup/cpu.stat").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("usage_usec"))) / 1e6


def used(before: float) -> float:
    return round(cpu() - before, 1)


def timed(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return round(time.monotonic() - start, 2)


def program(*arguments: str) -> tuple[list[tuple[float, float, str]], float, dict[str, Any]]:
    """Run the collection's program: its lines of progress with second and CPU, the seconds of all of it, its result."""
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as result:
        process = subprocess.Popen([PROGRAM, *arguments], cwd="/", text=True, stdout=result, stderr=subprocess.PIPE)
        said = [(time.monotonic() - start, cpu(), line.rstrip()) for line in process.stderr or ()]
        if process.wait() != 0:
            sys.exit(
                f"host: {PROGRAM} {' '.join(arguments)} failed: " + "\n".join(line for _at, _cpu, line in said[-10:])
            )
        seconds = round(time.monotonic() - start, 2)
        result.seek(0)
        return said, seconds, json.loads(result.read() or "{}")


# ---- what is backed up


def words(size: int, chance: random.Random) -> bytes:
    """Text like people's: words of different frequency, which zstd makes about three times smaller."""
    letters = "etaoinshrdlucmfwypvbgkq"
    known = ["".join(chance.choices(letters, k=chance.randint(2, 11))) for _number in range(20_000)]
    weights = [1 / (rank + 10) for rank in range(len(known))]
    return " ".join(chance.choices(known, weights, k=size // 5)).encode()[:size]


def messages(target: int, chance: random.Random) -> Iterator[bytes]:
    """Rows for ``COPY … (FORMAT binary)``, like those of mail_message: half of the bytes cannot be compressed."""
    text = words(16 << 20, chance)
    yield b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
    written, number, rows = 0, 0, []
    while written < target:
        number += 1
        at = chance.randrange(len(text) - 2048)
        subject, body = text[at : at + 40], text[at + 40 : at + 40 + chance.randint(150, 900)]
        payload = os.urandom(chance.randint(150, 900))
        # Of a bench that began in 2020, a message every minute.
        moment = (number * 60 + 631_152_000) * 1_000_000
        row = [struct.pack("!q", number), struct.pack("!q", moment), b"res.partner", struct.pack("!i", at % 50_000),
               subject, body, payload]  # fmt: skip
        rows.append(struct.pack("!h", len(row)) + b"".join(struct.pack("!i", len(field)) + field for field in row))
        written += len(subject) + len(body) + len(payload) + 120
        if len(rows) == 2000:
            yield b"".join(rows)
            rows = []
    yield b"".join(rows) + struct.pack("!h", -1)


@contextlib.contextmanager
def no_archiving() -> Iterator[None]:
    """The WAL of what is filled in is not of the measurement; the full backup that follows needs none of it."""
    sql("ALTER SYSTEM SET archive_command = '/bin/true'", name="postgres")
    sql("SELECT pg_reload_conf()", name="postgres")
    try:
        yield
    finally:
        sql("CHECKPOINT", name="postgres")
        sql("SELECT pg_switch_wal()", name="postgres")
        time.sleep(5)
        sql("ALTER SYSTEM RESET archive_command", name="postgres")
        sql("SELECT pg_reload_conf()", name="postgres")


def fill_database(size: int) -> None:
    """A table of that size beside those of Odoo, with the indexes that Odoo would give it."""
    sql("""DROP TABLE IF EXISTS bench_message;
           CREATE TABLE bench_message (id bigint, date timestamp, model varchar, res_id int, subject varchar, body text,
                                       payload bytea)
           WITH (autovacuum_enabled = off)""")
    for column in ("body", "payload"):
        sql(f"ALTER TABLE bench_message ALTER {column} SET STORAGE EXTERNAL")
    command = ["runuser", "-u", "postgres", "--", "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-p", str(DATABASE["port"]),
               "-d", INSTANCE["database"], "-c", "COPY bench_message FROM STDIN (FORMAT binary)"]  # fmt: skip
    with subprocess.Popen(command, cwd="/", stdin=subprocess.PIPE) as copy:
        if copy.stdin:
            copy.stdin.writelines(messages(size, random.Random(6)))  # noqa: S311  the same in every run
    if copy.returncode != 0:
        sys.exit("host: COPY failed")
    sql("""ALTER TABLE bench_message ADD PRIMARY KEY (id);
           CREATE INDEX bench_message_date ON bench_message (date);
           CREATE INDEX bench_message_record ON bench_message (model, res_id);
           VACUUM (FREEZE, ANALYZE) bench_message""")


def fill_files(count: int, size: int) -> None:
    """Attachments as Odoo stores them: named after their SHA-1, most of them as incompressible as pictures are."""
    chance = random.Random(7)  # noqa: S311  the same in every run
    text = words(8 << 20, chance)
    sizes = [chance.lognormvariate(0, 1.2) for _number in range(count)]
    factor = size / sum(sizes)
    rows = []
    for number, share in enumerate(sizes):
        length = max(64, int(share * factor))
        if number % 4:
            content = os.urandom(length)
        else:
            at = chance.randrange(len(text))
            content = (f"{number} ".encode() + text[at:] + text * (length // len(text) + 1))[:length]
        name = hashlib.sha1(content).hexdigest()  # noqa: S324  as Odoo names it
        path = FILESTORE / name[:2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        rows.append(f"bench {number}\t{name[:2]}/{name}\t{name}\t{length}")
    for name in sql("DELETE FROM ir_attachment WHERE name LIKE 'bench %' RETURNING store_fname").split():
        (FILESTORE / name).unlink(missing_ok=True)
    shell(f"chown -R {INSTANCE['user']}: {FILESTORE}; sync")
    sql(f"""CREATE TEMPORARY TABLE bench_file (name text, store_fname text, checksum text, file_size int);
COPY bench_file FROM STDIN;
{NEW_LINE.join(rows)}
\\.
INSERT INTO ir_attachment (name, type, store_fname, checksum, file_size, mimetype, create_date, write_date)
SELECT name, 'binary', store_fname, checksum, file_size, 'application/octet-stream', now(), now() FROM bench_file""")  # noqa: S608  our own names


def fill(options: argparse.Namespace) -> dict[str, Any]:
    """Fill database and filestore, and let the floor's client in."""
    WORK.mkdir(mode=0o755, exist_ok=True)
    shutil.chown(WORK, "postgres", "postgres")
    hba = pathlib.Path(sql("SHOW hba_file", name="postgres"))
    line = "local replication postgres peer\n"
    if line not in hba.read_text():
        # Put in place, not over: owner and mode stay.
        with hba.open("a") as handle:
            handle.write(line)
    with no_archiving():
        seconds = timed(lambda: fill_database(options.database_mb << 20))
        seconds += timed(lambda: fill_files(options.files, options.files_mb << 20))
    shell("sync")
    return {"seconds": seconds, **sizes()}


def sizes() -> dict[str, Any]:
    found = [path.stat().st_size for path in FILESTORE.glob("??/*")]
    return {
        "database_bytes": int(sql("SELECT pg_database_size(current_database())")),
        "cluster_bytes": int(shell(f"du -sb {DATA} --exclude=pg_wal | cut -f1")),
        "rows": int(sql("SELECT count(*) FROM bench_message")),
        "files": len(found),
        "files_bytes": sum(found),
    }


# ---- backup


def settle() -> None:
    """Nothing that an earlier step left to be written may be paid for by the next one."""
    sql("CHECKPOINT", name="postgres")
    shell("sync")


BASE_BACKUP = f"pg_basebackup -p {DATABASE['port']} -D - -Ft -X fetch -c fast | zstd -q -3 -T2"


def floor_full(_options: argparse.Namespace) -> dict[str, Any]:
    """Stored on the local disk: not encrypted, not uploaded, nothing checked, no manifest."""
    ARCHIVE.unlink(missing_ok=True)
    settle()
    before = cpu()
    seconds = timed(lambda: shell(f"{BASE_BACKUP} -o {ARCHIVE}", user="postgres"))
    return {"seconds": seconds, "cpu_s": used(before), "stored_bytes": ARCHIVE.stat().st_size}


def floor_upload(_options: argparse.Namespace) -> dict[str, Any]:
    """Encrypted and uploaded to the store as pgBackRest does it: what somebody would write by hand for the same."""
    settle()
    store = CONFIG["store"]
    environment = {"FLOOR_PASSPHRASE": SECRETS["database_passphrase"]}
    command = f"{BASE_BACKUP} | openssl enc -aes-256-cbc -pbkdf2 -pass env:FLOOR_PASSPHRASE"

    def upload() -> None:
        import boto3  # noqa: PLC0415
        from boto3.s3.transfer import TransferConfig  # noqa: PLC0415

        client = boto3.client(
            "s3", endpoint_url=store["endpoint"], region_name=store["region"], verify=store["ca"] or True,
            aws_access_key_id=SECRETS["key_id"], aws_secret_access_key=SECRETS["secret_key"],
        )  # fmt: skip
        with subprocess.Popen(
            ["runuser", "-u", "postgres", "--", "bash", "-euo", "pipefail", "-c", command],
            cwd="/", env={**os.environ, **environment}, stdout=subprocess.PIPE,
        ) as pipe:  # fmt: skip
            client.upload_fileobj(
                pipe.stdout, store["bucket"], f"{CONFIG['prefix']}/floor/base.tar.zst.enc",
                Config=TransferConfig(multipart_chunksize=16 << 20, max_concurrency=4),
            )  # fmt: skip
        if pipe.returncode != 0:
            sys.exit("host: pg_basebackup | zstd | openssl failed")

    before = cpu()
    return {"seconds": timed(upload), "cpu_s": used(before)}


def backup(options: argparse.Namespace) -> dict[str, Any]:
    """A backup by the collection's program: the whole job, and how long pgBackRest itself was at work."""
    settle()
    before = cpu()
    said, seconds, result = program("run", options.type)
    begins = next((at, spent) for at, spent, line in said if "backup of" in line and "begins" in line)
    there = next((at, spent) for at, spent, line in said if "is in the repository" in line)
    return {
        "seconds": seconds,
        "cpu_s": used(before),
        "pgbackrest_s": round(there[0] - begins[0], 2),
        "pgbackrest_cpu_s": round(there[1] - begins[1], 1),
        "stored_bytes": result["stored_bytes"],
        "label": result["label"],
    }


def change(options: argparse.Namespace) -> dict[str, Any]:
    """Change 1 % of the rows: the newest of them, some of the newest tenth, or some all over the table."""
    which = f"{options.number:d}"
    where = {
        "newest": "id > (SELECT max(id) FROM bench_message) * 0.99",
        "tenth": f"id > (SELECT max(id) FROM bench_message) * 0.9 AND id % 10 = {which}",  # noqa: S608  a number
        "spread": f"id % 100 = {which}",
    }[options.where]
    update = f"""UPDATE bench_message SET subject = 'Re: ' || left(subject, 30), body = reverse(body)
                 WHERE {where} RETURNING 1"""  # noqa: S608  our own condition
    changed = sql(f"WITH done AS ({update}) SELECT count(*) FROM done")  # noqa: S608
    # Its WAL is archived before the next measurement begins.
    archived()
    return {"rows": int(changed)}


def archived() -> None:
    """Close the segment of WAL that is written to, and wait until it is in the store."""
    # A segment that nothing was written to is not archived.
    sql("SELECT pg_logical_emit_message(false, 'bench', 'x')", name="postgres")
    last = sql("SELECT pg_walfile_name(pg_switch_wal())", name="postgres")
    deadline = time.monotonic() + 300
    while sql("SELECT last_archived_wal FROM pg_stat_archiver", name="postgres") < last:
        if time.monotonic() > deadline:
            sys.exit(f"host: {last} was not archived within 300 s")
        time.sleep(0.2)


# ---- restore


def floor_restore(_options: argparse.Namespace) -> dict[str, Any]:
    """Unpack the floor's archive into an empty directory and start it, until it answers."""
    shutil.rmtree(UNPACKED, ignore_errors=True)
    UNPACKED.mkdir(mode=0o700)
    shutil.chown(UNPACKED, "postgres", "postgres")
    buffers = sql("SHOW shared_buffers", name="postgres")
    shell("sync")
    settings = {"port": FLOOR_PORT, "unix_socket_directories": f"'{WORK}'", "listen_addresses": "''",
                "shared_buffers": f"'{buffers}'", "max_connections": 100, "archive_mode": "off"}  # fmt: skip

    def restore() -> None:
        shell(f"zstd -q -dc {ARCHIVE} | tar -x -C {UNPACKED}", user="postgres")
        lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
        shell(
            f"echo \"$SETTINGS\" >{UNPACKED}/postgresql.conf; echo 'local all postgres peer' >{UNPACKED}/pg_hba.conf; "
            f"{BINARIES}/pg_ctl -s -w -t 600 -D {UNPACKED} -l {UNPACKED}/log start; "
            f"psql -XAtq -h {WORK} -p {FLOOR_PORT} -d postgres -c 'SELECT 1'",
            user="postgres", environment={"SETTINGS": lines},
        )  # fmt: skip

    before = cpu()
    seconds = timed(restore)
    cpu_s = used(before)
    shell(f"{BINARIES}/pg_ctl -s -w -m immediate -D {UNPACKED} stop", user="postgres")
    shutil.rmtree(UNPACKED)
    return {"seconds": seconds, "cpu_s": cpu_s}


def restore(_options: argparse.Namespace) -> dict[str, Any]:
    """Lose the cluster and restore it from the store with the collection's program, until it takes writes."""
    rows = sql("SELECT count(*) FROM bench_message")
    archived()
    shell(f"systemctl stop {UNIT}; rm -rf {DATA}; {EMPTY_DATA}; sync")
    before = cpu()
    _said, seconds, result = program("restore-cluster", "--to", "latest")
    cpu_s = used(before)
    # The empty directory that the program put aside.
    if result["kept"]:
        pathlib.Path(result["kept"]).rmdir()
    if sql("SELECT count(*) FROM bench_message") != rows:
        sys.exit("host: the restored cluster has not the rows of before")
    return {"seconds": seconds, "cpu_s": cpu_s, "steps": result["seconds"], "label": result.get("label")}


# ---- files


def floor_files(_options: argparse.Namespace) -> dict[str, Any]:
    """A copy of the filestore on the same disk."""
    shutil.rmtree(COPY, ignore_errors=True)
    shell("sync")
    seconds = timed(lambda: shell(f"cp -a {FILESTORE} {COPY}"))
    synced = timed(lambda: shell(f"sync -f {WORK}"))
    shutil.rmtree(COPY)
    return {"seconds": seconds, "with_sync_s": round(seconds + synced, 2)}


def files(_options: argparse.Namespace) -> dict[str, Any]:
    """The job of the files."""
    shell("sync")
    _said, seconds, result = program("run", "files")
    return {"seconds": seconds, "stored_bytes": result["stored_bytes"]}


# ---- RPO


def position(lsn: str) -> int:
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def end_of(segment: str) -> int:
    """The position behind a segment of WAL, by its name."""
    return (int(segment[8:16], 16) << 32) + (int(segment[16:24], 16) + 1) * SEGMENT


class Writer(threading.Thread):
    """Commits ten times a second, and remembers when each commit was and up to where the WAL went with it."""

    def __init__(self, connection: Any) -> None:
        super().__init__(daemon=True)
        self.connection, self.end = connection, threading.Event()
        self.moments: list[float] = []
        self.positions: list[int] = []

    def run(self) -> None:
        with self.connection.cursor() as cursor:
            while not self.end.wait(0.1):
                cursor.execute("INSERT INTO bench_writer (at, note) VALUES (clock_timestamp(), repeat('steady ', 40))")
                moment = time.monotonic()
                cursor.execute("SELECT pg_current_wal_insert_lsn()")
                self.positions.append(position(cursor.fetchone()[0]))
                self.moments.append(moment)

    def age(self, segment: str, moment: float) -> float | None:
        """Seconds from the newest commit that is in the archive to a moment; the first one while none is."""
        if len(segment) < 24 or "." in segment[:24] or not self.moments:
            return None
        count = bisect.bisect_right(self.positions, end_of(segment))
        return moment - self.moments[max(count - 1, 0)]


def newest_in_store() -> str:
    """The newest segment that the store itself lists."""
    listed = shell(
        f"pgbackrest --stanza={DATABASE['stanza']} --log-level-console=off --log-level-file=off "
        f"repo-ls --recurse --filter='/[0-9A-F]{{24}}-[0-9a-f]{{40}}' archive/{DATABASE['stanza']}",
        user="postgres",
    )  # fmt: skip
    return max((line.rsplit("/", 1)[-1][:24] for line in listed.splitlines()), default="")


def connect() -> Any:
    import psycopg2  # noqa: PLC0415

    # Over the socket comes in who is that user of the host.
    os.setgroups([])
    shell_user = subprocess.run(["id", "-u", "postgres"], text=True, capture_output=True, check=True).stdout
    os.seteuid(int(shell_user))
    connection = psycopg2.connect(
        dbname=INSTANCE["database"], user="postgres", host="/var/run/postgresql", port=DATABASE["port"]
    )
    os.seteuid(0)
    connection.autocommit = True
    return connection


def rpo(options: argparse.Namespace) -> dict[str, Any]:
    """What would be lost if the host were gone at this moment, moment by moment under steady writes."""
    sql("DROP TABLE IF EXISTS bench_writer; CREATE TABLE bench_writer (id serial, at timestamptz, note text)")
    writer, watcher = Writer(connect()), connect()
    # After a restore, archive_timeout may not count before the first checkpoint.
    settle()
    archived()
    writer.start()
    start = time.monotonic()
    ages: list[float] = []
    in_store: list[float] = []
    looked = 0.0
    while time.monotonic() < start + options.seconds:
        time.sleep(1)
        with watcher.cursor() as cursor:
            cursor.execute("SELECT last_archived_wal FROM pg_stat_archiver")
            age = writer.age(cursor.fetchone()[0] or "", time.monotonic())
        if age is not None:
            ages.append(age)
        if time.monotonic() >= looked + 5:
            looked = time.monotonic()
            age = writer.age(newest_in_store(), time.monotonic())
            if age is not None:
                in_store.append(age)
    writer.end.set()
    writer.join()
    timeout = sql("SHOW archive_timeout", name="postgres")
    sql("DROP TABLE bench_writer")
    if not ages or not in_store:
        sys.exit("host: nothing was archived while the writer was at work")
    return {
        "archive_timeout": timeout, "commits": len(writer.moments), "samples": len(ages) + len(in_store),
        "max_s": round(max(ages), 1), "mean_s": round(statistics.mean(ages), 1),
        "by_store_max_s": round(max(in_store), 1), "by_store_mean_s": round(statistics.mean(in_store), 1),
    }  # fmt: skip


# ---- RTO


def odoo(options: argparse.Namespace) -> dict[str, Any]:
    """Start or stop Odoo: while database backups are measured nobody else writes."""
    shell(f"systemctl {options.state} {INSTANCE['unit']}")
    return {}


def lose_all(_options: argparse.Namespace) -> dict[str, Any]:
    """What a site is after its disks are gone: the programs, an empty data directory and no filestore."""
    archived()
    shell(f"systemctl stop {INSTANCE['unit']} {UNIT}; rm -rf {DATA} {FILESTORE}; {EMPTY_DATA}")
    return {}


def found(_options: argparse.Namespace) -> dict[str, Any]:
    """What there is now."""
    return sizes()


def main() -> None:
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(required=True)

    def verb(name: str, action: Callable[[argparse.Namespace], dict[str, Any]]) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = verbs.add_parser(name)
        added.set_defaults(action=action)
        return added

    filler = verb("fill", fill)
    for name in ("database-mb", "files", "files-mb"):
        filler.add_argument(f"--{name}", type=int, required=True)
    verb("backup", backup).add_argument("type", choices=["full", "incr"])
    changer = verb("change", change)
    changer.add_argument("where", choices=["newest", "tenth", "spread"])
    changer.add_argument(
        "--number", type=int, default=7, help="which of the rows, so that others are changed next time"
    )
    verb("rpo", rpo).add_argument("--seconds", type=int, required=True)
    verb("odoo", odoo).add_argument("state", choices=["start", "stop"])
    others: Sequence[Callable[[argparse.Namespace], dict[str, Any]]] = (
        floor_full, floor_upload, floor_restore, restore, floor_files, files, lose_all, found,
    )  # fmt: skip
    for action in others:
        verb(action.__name__.replace("_", "-"), action)
    options = parser.parse_args()
    print(json.dumps(options.action(options)))


if __name__ == "__main__":
    main()
