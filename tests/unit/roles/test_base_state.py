"""What role base reads of a host."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import time
from types import ModuleType

import pytest

STATE = pathlib.Path(__file__).resolve().parent.parent.parent.parent / "roles" / "base" / "files" / "state.py"
NOW = 1_700_000_000
CA = {"lab": "-----BEGIN CERTIFICATE-----\nlab\n-----END CERTIFICATE-----\n"}


@pytest.fixture
def state(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script of the role, with every path that it reads below a temporary directory."""
    spec = importlib.util.spec_from_file_location("base_state", STATE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("LISTS", "CERTIFICATES", "TRUST_STORE", "DPKG_JOURNAL"):
        directory = tmp_path / name.lower()
        directory.mkdir()
        monkeypatch.setattr(module, name, str(directory))
    monkeypatch.setattr(module, "LISTS_STAMP", str(tmp_path / "stamp"))
    monkeypatch.setattr(module, "LOCALTIME", str(tmp_path / "localtime"))
    monkeypatch.setattr(time, "time", lambda: NOW)
    return module


def touch(path: pathlib.Path, *, age: int = 0) -> None:
    path.touch()
    os.utime(path, (NOW - age, NOW - age))


def test_fresh_image_without_lists_is_not_fresh(state: ModuleType) -> None:
    touch(pathlib.Path(state.LISTS))
    assert state.package_lists(3600) == "missing"


@pytest.mark.parametrize(
    ("stamp_age", "lists_age", "wanted"),
    [(None, 60, ""), (None, 7200, "stale"), (60, 7200, ""), (7200, 60, "stale")],
)
def test_age_of_lists_is_that_of_the_stamp(
    state: ModuleType, stamp_age: int | None, lists_age: int, wanted: str
) -> None:
    touch(pathlib.Path(state.LISTS, "archive_InRelease"))
    touch(pathlib.Path(state.LISTS), age=lists_age)
    if stamp_age is not None:
        touch(pathlib.Path(state.LISTS_STAMP), age=stamp_age)
    assert state.package_lists(3600) == wanted


def test_interrupted_dpkg_is_found(state: ModuleType) -> None:
    touch(pathlib.Path(state.DPKG_JOURNAL, "tmp.i"))
    assert not state.dpkg_interrupted()
    touch(pathlib.Path(state.DPKG_JOURNAL, "0003"))
    assert state.dpkg_interrupted()


@pytest.mark.parametrize(
    ("links", "bundle", "files_differ", "wanted"),
    [
        ([], "", True, "add"),
        (["lab"], "others\n" + CA["lab"], False, ""),
        (["lab"], "others\n" + CA["lab"], True, "rebuild"),
        (["lab"], "killed before the bundle\n", False, "rebuild"),
        ([], CA["lab"], False, "add"),
        (["lab", "gone"], CA["lab"], False, "rebuild"),
    ],
)
def test_trust_store(state: ModuleType, links: list[str], bundle: str, files_differ: bool, wanted: str) -> None:
    store = pathlib.Path(state.TRUST_STORE)
    (store / "ca-certificates.crt").write_text(bundle)
    for name in links:
        (store / f"slipway-{name}.pem").symlink_to("/nonexistent")
    assert state.trust_store_task(CA, files_differ=files_differ) == wanted


def test_host_without_a_trust_store_needs_none(state: ModuleType) -> None:
    assert state.trust_store_task({}, files_differ=False) == ""


@pytest.mark.parametrize(
    ("written", "started", "behind"),
    [(-60, -30, False), (-60, -60, False), (-30, -60, True), (3600, -60, False)],
    ids=["started after", "in the same second", "written after", "clock set back since"],
)
def test_service_behind_its_file(
    state: ModuleType, tmp_path: pathlib.Path, written: int, started: int, behind: bool
) -> None:
    touch(tmp_path, age=-written)
    assert state.is_behind({"ActiveEnterTimestamp": f"@{NOW + started}"}, tmp_path) is behind


def test_service_without_drop_ins_is_not_behind(state: ModuleType, tmp_path: pathlib.Path) -> None:
    assert not state.is_behind({"ActiveEnterTimestamp": ""}, tmp_path / "absent")


def test_time_zone(state: ModuleType) -> None:
    link = pathlib.Path(state.LOCALTIME)
    assert state.timezone_differs("Etc/UTC")
    link.symlink_to("/usr/share/zoneinfo/Etc/UTC")
    assert not state.timezone_differs("Etc/UTC")
    assert state.timezone_differs("Europe/Zurich")
    link.unlink()
    link.write_text("a copy instead of a link")
    assert state.timezone_differs("Etc/UTC")
