# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Size PostgreSQL for Odoo from memory, cores and connections.

Where each rule comes from ("pgtune" = https://pgtune.leopard.in.ua, type "web"; "manual" = postgresql.org/docs):

``shared_buffers``
    A quarter of the memory (manual, "Resource Consumption"; pgtune).
``effective_cache_size``
    Three quarters of it: what the planner may expect to be cached (pgtune).
``maintenance_work_mem``
    A sixteenth (pgtune), at most 1 GB, which is all VACUUM could use before 17, and 2 GB since (release notes of 17).
``work_mem``
    What is left of the memory when every backend and parallel worker uses it at once for one hash, next to
    ``shared_buffers``, one ``maintenance_work_mem`` for each autovacuum worker and one for a manual
    command, and BACKEND_MB for each process. So the total never exceeds the memory. At most 64 MB (our own rule):
    Odoo's queries are short, and what is not given away remains as the cache that ``effective_cache_size`` promises.
``hash_mem_multiplier``
    2, the default since 15, written down so that 13 and 14 are reckoned alike.
``max_parallel_workers`` (cores), ``max_parallel_workers_per_gather`` and ``…_maintenance_workers`` (half, at most 4)
    pgtune. ``max_worker_processes`` is not lowered under its default 8, which other extensions count on.
``checkpoint_completion_target``
    0.9, the default since 14 (pgtune).
``min_wal_size``, ``max_wal_size``
    1 GB and 4 GB (pgtune), less where memory is under 4 GB, because disks are small there too.
``random_page_cost``, ``effective_io_concurrency``
    SSD 1.1 and 200, disks 4 and 2 (pgtune). On 18 the latter counts reads that are really started by the
    server, and its new default 16 was chosen for today's storage (commit ff79b5b), so SSDs keep that.
``io_workers``
    18 only: a quarter of the cores, within the default 3 and the highest value 32.

``wal_buffers`` and ``huge_pages`` are left at what the server chooses itself.
"""

from __future__ import annotations

VERSIONS = range(13, 19)
STORAGES = ("ssd", "hdd")
MINIMUM_MEMORY_MB = 256
MINIMUM_CONNECTIONS = 10
BACKEND_MB = 2
AUTOVACUUM_WORKERS = 3
HASH_MEM_MULTIPLIER = 2
MINIMUM_WORK_MEM_KB = 64
MAXIMUM_WORK_MEM_KB = 64 * 1024


def postgresql_tuning(
    *, memory_mb: int, cores: int, connections: int, storage: str = "ssd", version: int = 17
) -> dict[str, str]:
    """Return the settings for a server that may use ``memory_mb``.

    :param memory_mb: memory that PostgreSQL and its cache may use, in MiB, at least 256
    :param cores: processor cores, at least 1
    :param connections: ``max_connections``, at least 10
    :param storage: ``ssd`` or ``hdd``
    :param version: major version of PostgreSQL, 13 to 18
    :returns: names of settings and their values as ``postgresql.conf`` wants them, units included
    :raises ValueError: when a value is out of its range, or the memory too little for the connections
    """
    _check(memory_mb=memory_mb, cores=cores, connections=connections, storage=storage, version=version)
    memory = steady(memory_mb=memory_mb)
    shared_buffers = memory // 4
    maintenance = min(memory // 16, 2048 if version >= 17 else 1024)
    per_gather = min(4, cores // 2)
    work_mem_kb = _work_mem_kb(
        left_mb=memory - shared_buffers - (AUTOVACUUM_WORKERS + 1) * maintenance,
        processes=connections + cores,
        memory_mb=memory,
    )
    max_wal = min(4096, max(1024, memory))
    settings = {
        "max_connections": str(connections),
        "shared_buffers": _mb(shared_buffers),
        "effective_cache_size": _mb(memory * 3 // 4),
        "maintenance_work_mem": _mb(maintenance),
        "work_mem": f"{work_mem_kb}kB",
        "hash_mem_multiplier": str(HASH_MEM_MULTIPLIER),
        "autovacuum_max_workers": str(AUTOVACUUM_WORKERS),
        "max_worker_processes": str(max(8, cores)),
        "max_parallel_workers": str(cores),
        "max_parallel_workers_per_gather": str(per_gather),
        "max_parallel_maintenance_workers": str(per_gather),
        "checkpoint_completion_target": "0.9",
        "min_wal_size": _mb(max_wal // 4),
        "max_wal_size": _mb(max_wal),
        "random_page_cost": "1.1" if storage == "ssd" else "4",
        "effective_io_concurrency": _io_concurrency(storage=storage, version=version),
    }
    if version >= 18:
        settings["io_workers"] = str(min(32, max(3, cores // 4)))
    return settings


def steady(*, memory_mb: int) -> int:
    """Round memory down to a step between a 64th and a 32nd of it.

    A new kernel reports a few MB more or less; without this it would change ``shared_buffers``
    and so restart the database at the next deploy.
    """
    step = max(1, 1 << (memory_mb.bit_length() - 6))
    return memory_mb - memory_mb % step


def _work_mem_kb(*, left_mb: int, processes: int, memory_mb: int) -> int:
    free_kb = (left_mb - processes * BACKEND_MB) * 1024
    work_mem = free_kb // (processes * HASH_MEM_MULTIPLIER)
    if work_mem < MINIMUM_WORK_MEM_KB:
        fit = left_mb * 1024 // (BACKEND_MB * 1024 + MINIMUM_WORK_MEM_KB * HASH_MEM_MULTIPLIER)
        raise ValueError(
            f"{memory_mb} MB of memory do not carry {processes} connections and parallel workers: at most {fit} fit"
        )
    return min(MAXIMUM_WORK_MEM_KB, work_mem - work_mem % MINIMUM_WORK_MEM_KB)


def _io_concurrency(*, storage: str, version: int) -> str:
    if storage == "hdd":
        return "2"
    return "16" if version >= 18 else "200"


def _mb(value: int) -> str:
    return f"{value}MB"


def _check(*, memory_mb: int, cores: int, connections: int, storage: str, version: int) -> None:
    if version not in VERSIONS:
        raise ValueError(f"version must be {VERSIONS[0]} to {VERSIONS[-1]}, not {version!r}")
    if storage not in STORAGES:
        raise ValueError("storage must be one of {}, not {!r}".format(", ".join(STORAGES), storage))
    for name, value, least in (
        ("memory_mb", memory_mb, MINIMUM_MEMORY_MB),
        ("cores", cores, 1),
        ("connections", connections, MINIMUM_CONNECTIONS),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
