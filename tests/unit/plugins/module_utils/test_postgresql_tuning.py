"""Sizing of PostgreSQL: a table of hosts, and what must hold on every host."""

from __future__ import annotations

import re

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_tuning import (
    BACKEND_MB,
    VERSIONS,
    postgresql_tuning,
    steady,
)
from hypothesis import given, reject
from hypothesis import strategies as st

MEMORY = st.integers(min_value=256, max_value=4 * 1024 * 1024)
CORES = st.integers(min_value=1, max_value=256)
CONNECTIONS = st.integers(min_value=10, max_value=2000)
STORAGES = st.sampled_from(["ssd", "hdd"])
ALL_VERSIONS = st.sampled_from(list(VERSIONS))
UNIT_KB = {"kB": 1, "MB": 1024, "": 1}

# Lowest and highest value that the server takes, same in 13 to 18 (SELECT name, min_val, max_val FROM pg_settings).
# Memory in kB (shared_buffers and effective_cache_size in blocks of 8 kB), WAL sizes in MB.
RANGES = {
    "max_connections": (1, 262143),
    "shared_buffers": (16 * 8, 1073741823 * 8),
    "effective_cache_size": (8, 2147483647 * 8),
    "maintenance_work_mem": (1024, 2147483647),
    "work_mem": (64, 2147483647),
    "hash_mem_multiplier": (1, 1000),
    "autovacuum_max_workers": (1, 262143),
    "max_worker_processes": (0, 262143),
    "max_parallel_workers": (0, 1024),
    "max_parallel_workers_per_gather": (0, 1024),
    "max_parallel_maintenance_workers": (0, 1024),
    "checkpoint_completion_target": (0, 1),
    "min_wal_size": (2 * 1024, 2147483647 * 1024),
    "max_wal_size": (2 * 1024, 2147483647 * 1024),
    "random_page_cost": (0, 1.79769e308),
    "effective_io_concurrency": (0, 1000),
}


def number(value: str) -> float:
    """Return a setting as a number, memory in kB."""
    found = re.fullmatch(r"([0-9.]+)(kB|MB)?", value)
    assert found, value
    return float(found[1]) * UNIT_KB[found[2] or ""]


def tuned(**kwargs) -> dict[str, str]:
    """Return the settings, or leave the example out where the memory cannot carry the connections."""
    try:
        return postgresql_tuning(**kwargs)
    except ValueError as error:
        if "do not carry" not in str(error):
            raise
        reject()


@pytest.mark.parametrize(
    ("memory_mb", "cores", "connections", "wanted"),
    [
        (512, 1, 50, {"shared_buffers": "128MB", "work_mem": "1536kB", "max_wal_size": "1024MB"}),
        (1024, 1, 100, {"shared_buffers": "256MB", "maintenance_work_mem": "64MB", "work_mem": "1536kB"}),
        (2048, 2, 100, {"shared_buffers": "512MB", "work_mem": "4096kB", "max_parallel_workers_per_gather": "1"}),
        (8192, 4, 100, {"shared_buffers": "2048MB", "effective_cache_size": "6144MB", "work_mem": "19136kB"}),
        (24105, 2, 100, {"shared_buffers": "6016MB", "maintenance_work_mem": "1504MB", "min_wal_size": "1024MB"}),
        (131072, 32, 300, {"shared_buffers": "32768MB", "maintenance_work_mem": "2048MB", "work_mem": "65536kB"}),
    ],
)
def test_sizes_of_hosts(memory_mb, cores, connections, wanted):
    settings = postgresql_tuning(memory_mb=memory_mb, cores=cores, connections=connections)
    assert {name: settings[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("version", "storage", "wanted"),
    [
        (13, "ssd", {"random_page_cost": "1.1", "effective_io_concurrency": "200", "maintenance_work_mem": "1024MB"}),
        (16, "hdd", {"random_page_cost": "4", "effective_io_concurrency": "2", "maintenance_work_mem": "1024MB"}),
        (17, "ssd", {"effective_io_concurrency": "200", "maintenance_work_mem": "2048MB"}),
        (18, "ssd", {"effective_io_concurrency": "16", "io_workers": "4", "random_page_cost": "1.1"}),
        (18, "hdd", {"effective_io_concurrency": "2", "io_workers": "4", "random_page_cost": "4"}),
    ],
)
def test_versions_and_storage(version, storage, wanted):
    settings = postgresql_tuning(memory_mb=65536, cores=16, connections=100, storage=storage, version=version)
    assert {name: settings[name] for name in wanted} == wanted
    assert ("io_workers" in settings) == (version >= 18)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"memory_mb": 255}, "memory_mb must be a whole number of at least 256, not 255"),
        ({"memory_mb": "8192"}, "memory_mb must be a whole number of at least 256, not '8192'"),
        ({"memory_mb": True}, "memory_mb must be"),
        ({"cores": 0}, "cores must be a whole number of at least 1, not 0"),
        ({"connections": 9}, "connections must be a whole number of at least 10, not 9"),
        ({"connections": 1.5}, "connections must be"),
        ({"storage": "tape"}, "storage must be one of ssd, hdd, not 'tape'"),
        ({"version": 12}, "version must be 13 to 18, not 12"),
        ({"version": 19}, "version must be 13 to 18, not 19"),
        ({"memory_mb": 512, "connections": 500}, "512 MB of memory do not carry 504 connections"),
    ],
)
def test_what_is_refused(change, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        postgresql_tuning(**{"memory_mb": 8192, "cores": 4, "connections": 100, **change})


def test_refusal_names_a_number_that_fits():
    with pytest.raises(ValueError, match="at most") as caught:
        postgresql_tuning(memory_mb=512, cores=1, connections=500)
    fits = int(re.search(r"at most (\d+) fit", str(caught.value))[1])
    assert postgresql_tuning(memory_mb=512, cores=1, connections=fits - 1)["work_mem"] == "64kB"
    with pytest.raises(ValueError, match="do not carry"):
        postgresql_tuning(memory_mb=512, cores=1, connections=fits)


@given(memory_mb=MEMORY, cores=CORES, connections=CONNECTIONS, storage=STORAGES, version=ALL_VERSIONS)
def test_memory_never_exceeds_the_host(memory_mb, cores, connections, storage, version):
    settings = tuned(memory_mb=memory_mb, cores=cores, connections=connections, storage=storage, version=version)
    processes = number(settings["max_connections"]) + number(settings["max_parallel_workers"])
    each = number(settings["work_mem"]) * number(settings["hash_mem_multiplier"]) + BACKEND_MB * 1024
    vacuums = number(settings["autovacuum_max_workers"]) + 1
    total = number(settings["shared_buffers"]) + processes * each + vacuums * number(settings["maintenance_work_mem"])
    assert total <= memory_mb * 1024
    assert number(settings["shared_buffers"]) < number(settings["effective_cache_size"]) < memory_mb * 1024


@given(memory_mb=MEMORY, cores=CORES, connections=CONNECTIONS, storage=STORAGES, version=ALL_VERSIONS)
def test_every_value_is_in_the_range_of_the_server(memory_mb, cores, connections, storage, version):
    settings = tuned(memory_mb=memory_mb, cores=cores, connections=connections, storage=storage, version=version)
    io_workers = settings.pop("io_workers", None)
    assert settings.keys() == RANGES.keys()
    for name, value in settings.items():
        lowest, highest = RANGES[name]
        assert lowest <= number(value) <= highest, name
    assert (io_workers is None) == (version < 18)
    assert io_workers is None or 3 <= int(io_workers) <= 32
    assert number(settings["min_wal_size"]) < number(settings["max_wal_size"])
    assert number(settings["max_parallel_workers_per_gather"]) <= number(settings["max_parallel_workers"])
    assert number(settings["max_parallel_workers"]) <= number(settings["max_worker_processes"])


@given(memory_mb=MEMORY, more=st.integers(min_value=0, max_value=1024 * 1024), connections=CONNECTIONS, cores=CORES)
def test_more_memory_never_gives_less(memory_mb, more, connections, cores):
    small = tuned(memory_mb=memory_mb, cores=cores, connections=connections)
    large = postgresql_tuning(memory_mb=memory_mb + more, cores=cores, connections=connections)
    for name, value in small.items():
        assert number(value) <= number(large[name]), name


@given(memory_mb=MEMORY, connections=CONNECTIONS, more=st.integers(min_value=0, max_value=1000), cores=CORES)
def test_more_connections_never_get_more_memory_each(memory_mb, connections, more, cores):
    many = tuned(memory_mb=memory_mb, cores=cores, connections=connections + more)
    few = postgresql_tuning(memory_mb=memory_mb, cores=cores, connections=connections)
    assert number(many["work_mem"]) <= number(few["work_mem"])
    assert many["shared_buffers"] == few["shared_buffers"]


@given(memory_mb=MEMORY)
def test_rounding_loses_little_and_is_stable(memory_mb):
    rounded = steady(memory_mb=memory_mb)
    assert memory_mb * 31 / 32 < rounded <= memory_mb
    assert steady(memory_mb=rounded) == rounded


def test_a_few_megabytes_change_nothing():
    sizes = [postgresql_tuning(memory_mb=memory, cores=4, connections=100) for memory in range(24100, 24110)]
    assert all(settings == sizes[0] for settings in sizes)
