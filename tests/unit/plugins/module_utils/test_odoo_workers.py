"""Sizing of workers: the documentation's example, tables, and properties that hold for every host."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_workers
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_options import config_problems
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_workers import MIB, size_workers
from hypothesis import given
from hypothesis import strategies as st

HOSTS = st.fixed_dictionaries(
    {
        "cores": st.integers(1, 256),
        "memory_mb": st.integers(256, 2_000_000),
        "users": st.integers(1, 10_000),
        "shared": st.integers(0, 1_000_000),
        "max_connections": st.integers(1, 5000),
    }
)


def test_the_example_of_the_documentation():
    # 4 cores, 60 users: «we will use 8 workers + 1 for cron», about 3 GB.
    sizing = size_workers(cores=4, memory_mb=16384, users=60)
    assert (sizing["workers"], sizing["max_cron_threads"]) == (8, 1)
    assert sizing["warnings"] == ["60 users at once want 10 workers, 4 cores carry 8: they serve about 48"]


@pytest.mark.parametrize(
    ("cores", "memory_mb", "users", "workers", "cron", "warnings"),
    [
        (1, 4096, 1, 2, 1, 0),
        (1, 4096, 12, 2, 1, 0),
        (1, 4096, 13, 2, 1, 1),
        (2, 4096, 12, 2, 2, 0),
        (2, 4096, 20, 4, 1, 0),
        (2, 4096, 24, 4, 1, 0),
        (2, 4096, 25, 4, 1, 1),
        (4, 8192, 30, 5, 2, 0),
        (16, 65536, 100, 17, 2, 0),
        # Memory is what is short: 8 workers want 3248 MB.
        (4, 2400, 48, 5, 1, 1),
        # Not even the smallest Odoo fits.
        (2, 1024, 12, 2, 1, 1),
        (1, 512, 100, 2, 1, 2),
    ],
)
def test_hosts(cores, memory_mb, users, workers, cron, warnings):
    sizing = size_workers(cores=cores, memory_mb=memory_mb, users=users)
    assert (sizing["workers"], sizing["max_cron_threads"], len(sizing["warnings"])) == (
        workers,
        cron,
        warnings,
    ), sizing


def test_what_belongs_to_others_is_left_to_them():
    alone = size_workers(cores=8, memory_mb=8192, users=90)
    beside = size_workers(cores=8, memory_mb=8192, users=90, shared=6000)
    assert alone["workers"] == 15
    assert beside["workers"] == 4
    assert "2192 MB are there: 4 workers instead, for about 24 users" in beside["warnings"][0]


def test_more_than_all_memory_may_be_taken_by_others():
    sizing = size_workers(cores=2, memory_mb=1000, users=5, shared=5000)
    assert sizing["workers"] == 2
    assert sizing["warnings"]


def test_limits_follow_memory_within_their_bounds():
    small = size_workers(cores=2, memory_mb=2048, users=10)
    middle = size_workers(cores=2, memory_mb=6144, users=24)
    large = size_workers(cores=2, memory_mb=65536, users=10)
    assert small["limit_memory_hard"] == 1536 * MIB
    assert middle["limit_memory_hard"] == 2048 * MIB
    assert large["limit_memory_hard"] == 2560 * MIB
    assert large["limit_memory_soft"] == 1920 * MIB
    # A heavy request takes 1 GB: a worker must survive it without being recycled at once.
    assert small["limit_memory_soft"] > 1024 * MIB


@pytest.mark.parametrize("name", ["cores", "memory_mb", "users", "shared", "max_connections"])
@pytest.mark.parametrize("value", [-1, 1.5, True, "2", None])
def test_nonsense_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number"):
        size_workers(**{"cores": 2, "memory_mb": 4096, "users": 10, name: value})


@given(HOSTS)
def test_rules_that_always_hold(host):
    sizing = size_workers(**host)
    workers, cron = sizing["workers"], sizing["max_cron_threads"]
    assert workers >= 2
    assert cron in (1, 2)
    assert workers + cron <= 2 * host["cores"] + 1
    enough = -(-host["users"] // 6)
    assert workers <= max(2, enough)
    available = host["memory_mb"] - host["shared"]
    if workers > 2:
        assert (workers + cron + 1) * odoo_workers.WORKER_MB <= available
    served = workers >= enough
    assert served or sizing["warnings"]
    assert 0 < sizing["limit_memory_soft"] < sizing["limit_memory_hard"] <= 2560 * MIB
    # Never more than the smallest limit allows, or about twice of what is there.
    assert sizing["limit_memory_hard"] <= max(1536 * MIB, 2 * available * MIB // (workers + cron + 1))
    assert 8 <= sizing["db_maxconn"] <= 64
    if sizing["db_maxconn"] > 8:
        assert sizing["db_maxconn"] * (workers + cron + 1) <= host["max_connections"]


@given(HOSTS, st.integers(1, 50))
def test_more_users_never_get_fewer_workers(host, more):
    assert size_workers(**{**host, "users": host["users"] + more})["workers"] >= size_workers(**host)["workers"] - 1


@given(HOSTS, st.integers(1, 100_000))
def test_more_memory_never_means_fewer_workers(host, more):
    assert size_workers(**{**host, "memory_mb": host["memory_mb"] + more})["workers"] >= size_workers(**host)["workers"]


@given(HOSTS)
def test_the_keys_are_options_of_both_versions(host):
    options = {key: value for key, value in size_workers(**host).items() if key != "warnings"}
    assert config_problems(options, "18.0") == config_problems(options, "19.0") == []
