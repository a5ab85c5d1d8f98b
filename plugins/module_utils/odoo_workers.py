# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How many processes an Odoo instance gets, and how much each may use. Pure.

Rules, from «Worker number calculation» and «Memory size calculation» in Odoo's deployment
documentation (requirements E12, OC-04):

* one HTTP worker serves about 6 users at once;
* all workers together, cron included, are at most ``2 * cores + 1``;
* of the workers 80 % are light (150 MB) and 20 % heavy (1 GB), so one takes 324.8 MB on average.

So ``workers = min(users / 6, 2 * cores + 1 - cron)``. Cron workers are taken from what the cores
allow, not from what the users need: with cores to spare, 20 users get the 4 workers they need.
The documentation's own example, 60 users on 4 cores with 1 cron worker, gives 8 either way.

The event (gevent) process for the websocket comes on top: it waits far more than it computes, but
takes memory and connections.
"""

from __future__ import annotations

import math
from typing import Any

MIB = 1024 * 1024
USERS_PER_WORKER = 6
WORKER_MB = 0.8 * 150 + 0.2 * 1024
MIN_WORKERS = 2
#: Both limits count address space, not resident memory: a fresh worker of 19.0 with 28 modules shows
#: 220 MiB of it. Odoo's own default for the hard limit is 2560 MiB.
MAX_HARD_MB = 2560
#: Below this the soft limit would end a worker after every heavy (1 GB) request.
MIN_HARD_MB = 1536
#: OC-04: the soft limit recycles a worker after its request, at 75 % of what kills it.
SOFT_SHARE = 0.75
LIMIT_TIME_CPU = 120
LIMIT_TIME_REAL = 240
LIMIT_REQUEST = 65536
#: A worker needs two or three at a time, the event process more: it serves all open websockets.
MIN_CONNECTIONS = 8
MAX_CONNECTIONS = 64


def size_workers(
    *, cores: int, memory_mb: int, users: int, shared: int = 0, max_connections: int = 100
) -> dict[str, Any]:
    """Size one instance.

    :param cores: processor cores that the instance may use.
    :param memory_mb: memory of the host, in MiB.
    :param users: people who use it at the same time.
    :param shared: MiB that belong to other services and instances on the host.
    :param max_connections: what PostgreSQL accepts for this instance.
    :returns: the configuration keys, and ``warnings``: sentences that say what the host cannot do.
    :raises ValueError: an argument that makes no sense.
    """
    _check(cores=cores, memory_mb=memory_mb, users=users, shared=shared, max_connections=max_connections)
    warnings: list[str] = []
    wanted = max(MIN_WORKERS, math.ceil(users / USERS_PER_WORKER))
    by_cores = 2 * cores + 1
    cron = 2 if by_cores - 2 >= wanted else 1
    workers = max(MIN_WORKERS, min(wanted, by_cores - cron))
    if workers < wanted:
        warnings.append(
            f"{users} users at once want {wanted} workers, {cores} cores carry {workers}: "
            f"they serve about {workers * USERS_PER_WORKER}"
        )
    available = memory_mb - shared
    if (workers + cron + 1) * WORKER_MB > available:
        cron = 1
    by_memory = math.floor(available / WORKER_MB) - cron - 1
    # One for the event process: it takes memory like the others.
    if by_memory < workers:
        fitting = max(MIN_WORKERS, by_memory)
        need = math.ceil((workers + cron + 1) * WORKER_MB)
        if fitting < workers:
            warnings.append(
                f"{workers} workers want {need} MB, {available} MB are there: {fitting} workers instead, "
                f"for about {fitting * USERS_PER_WORKER} users"
            )
        workers = fitting
        least = math.ceil((workers + cron + 1) * WORKER_MB)
        if available < least:
            warnings.append(f"Odoo wants at least {least} MB for itself, {available} MB are there")
    hard = _hard_limit(available, workers + cron + 1)
    return {
        "workers": workers,
        "max_cron_threads": cron,
        "limit_memory_soft": int(hard * SOFT_SHARE) * MIB,
        "limit_memory_hard": hard * MIB,
        "limit_time_cpu": LIMIT_TIME_CPU,
        "limit_time_real": LIMIT_TIME_REAL,
        "limit_request": LIMIT_REQUEST,
        "db_maxconn": _connections(max_connections, workers + cron + 1),
        "warnings": warnings,
    }


def _check(**numbers: int) -> None:
    least = {"cores": 1, "memory_mb": 1, "users": 1, "shared": 0, "max_connections": 1}
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < least[name]:
            raise ValueError(f"{name} must be a whole number from {least[name]}, not {number!r}")


def _hard_limit(available_mb: int, processes: int) -> int:
    """MiB of address space per process: twice its share, within what Odoo can live with."""
    share = 2 * available_mb // processes // 64 * 64
    return max(MIN_HARD_MB, min(MAX_HARD_MB, share))


def _connections(max_connections: int, processes: int) -> int:
    """Pool size per process so that all pools together leave the server a tenth of its slots."""
    return max(MIN_CONNECTIONS, min(MAX_CONNECTIONS, max_connections * 9 // 10 // processes))
