"""What role logrotate reads of a host."""

from __future__ import annotations

import importlib.util
import os
import pathlib
from types import ModuleType

import pytest

STATE = pathlib.Path(__file__).resolve().parent.parent.parent.parent / "roles" / "logrotate" / "files" / "state.py"
OURS = "# Managed\n# rotated elsewhere\n"


@pytest.fixture
def state(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script of the role, which takes its own files for those of root."""
    spec = importlib.util.spec_from_file_location("logrotate_state", STATE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ENTRIES", str(tmp_path))
    monkeypatch.setattr(module, "file_differs", lambda path, content: not path.is_file() or path.read_text() != content)
    return module


def test_entry_is_given_back_from_the_newest_copy_of_the_package(state: ModuleType, tmp_path: pathlib.Path) -> None:
    (tmp_path / "nginx").write_text(OURS)
    (tmp_path / "nginx.1.2026-01-01@00:00:00~").write_text("old package\n")
    (tmp_path / "nginx.2.2026-02-01@00:00:00~").write_text("new package\n")
    (tmp_path / "nginx.3.2026-03-01@00:00:00~").write_text("# Managed\n# an earlier wording\n")
    os.chmod(tmp_path / "nginx.2.2026-02-01@00:00:00~", 0o600)  # its change is the newest
    found = state.released([], OURS)
    assert found == [{"path": str(tmp_path / "nginx"), "original": str(tmp_path / "nginx.2.2026-02-01@00:00:00~")}]


@pytest.mark.parametrize("reason", ["still wanted", "somebody else's", "no copy", "a directory"])
def test_entry_stays(state: ModuleType, tmp_path: pathlib.Path, reason: str) -> None:
    entry = tmp_path / "nginx"
    if reason == "a directory":
        entry.mkdir()
    else:
        entry.write_text("the package's\n" if reason == "somebody else's" else OURS)
    if reason != "no copy":
        (tmp_path / "nginx.1.2026-01-01@00:00:00~").write_text("the package's\n")
    assert state.released([entry] if reason == "still wanted" else [], OURS) == []
