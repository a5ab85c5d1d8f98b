"""Hold every file of the repository to the rules that no linter knows."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Directories of which many checkouts live side by side: naming one names no machine.
COMMON_PARENTS = {"/", "/builds", "/home", "/opt", "/root", "/srv", "/tmp", "/usr/src", "/var/tmp"}

# Each pattern is written so that it does not match its own source.
INDEX_ADDRESS = re.compile(
    r"--(extra-)?index-ur[l]|--find-link[s]|^\s*(extra-)?index-ur[l]\s*=|PIP_(EXTRA_)?INDEX_UR[L]|UV_(DEFAULT_)?INDE[X]|GOPROX[Y]",
    re.MULTILINE,
)
SWALLOWED_FAILURE = re.compile(
    r"^\s*-?\s*(ignore_errors:|failed_when:\s*[\"']?(false|no)\b)", re.MULTILINE | re.IGNORECASE
)
CONDITIONAL_SECRECY = re.compile(r"^\s*no_log:\s*[\"']?\{\{", re.MULTILINE)


def repository_files(root: pathlib.Path) -> list[pathlib.Path]:
    """Return what git tracks and what it would track: everything that is not ignored."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split("\0")
    paths = (root / name for name in names if name)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def text_of(path: pathlib.Path) -> str:
    return path.read_text(errors="replace")


def matches(root: pathlib.Path, pattern: re.Pattern[str], *suffixes: str) -> list[str]:
    """Return where a pattern occurs, as file, line number and line."""
    found = []
    for path in repository_files(root):
        if suffixes and path.suffix not in suffixes:
            continue
        for number, line in enumerate(text_of(path).splitlines(), start=1):
            if pattern.search(line):
                found.append(f"{path.relative_to(root)}:{number}: {line.strip()}")
    return found


def machine_paths(root: pathlib.Path) -> re.Pattern[str]:
    """Return the pattern of one machine's paths: the checkout's, its parent's, a user's home."""
    parents = [root, *([] if str(root.parent) in COMMON_PARENTS else [root.parent])]
    known = "|".join(re.escape(f"{path}/") for path in parents)
    return re.compile(rf"(?<![\w.]){known}|/(home|Users)/(?!debian\b|odoo\b|\{{\{{)[a-z]\w*/|/tmp/tea[m]/")


def programs(root: pathlib.Path) -> list[pathlib.Path]:
    """Return what starts with a line that names its interpreter."""
    return [path for path in repository_files(root) if path.open("rb").read(2) == b"#!"]


def interpreter(path: pathlib.Path) -> str:
    return text_of(path).partition("\n")[0]


def shell_scripts(root: pathlib.Path) -> list[pathlib.Path]:
    """Return shell scripts, with what they source and what roles run."""
    sourced = [path for path in repository_files(root) if path.suffix == ".sh"]
    return sorted({*sourced, *(path for path in programs(root) if re.search(r"\b(ba)?sh\b", interpreter(path)))})


def syntax_errors(path: pathlib.Path) -> str:
    """Return what the shell that runs a script says about its syntax."""
    shell = "bash" if "bash" in interpreter(path) or path.is_relative_to(ROOT / "script") else "sh"
    return subprocess.run([shell, "-n", str(path)], capture_output=True, check=False, text=True).stderr


def names(paths: list[pathlib.Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_no_file_names_a_package_index_or_mirror() -> None:
    assert matches(ROOT, INDEX_ADDRESS) == []


def test_no_task_swallows_a_failure() -> None:
    assert matches(ROOT, SWALLOWED_FAILURE, ".yml", ".yaml") == []


def test_no_task_makes_secrecy_conditional() -> None:
    assert matches(ROOT, CONDITIONAL_SECRECY, ".yml", ".yaml") == []


def test_no_file_names_a_path_of_this_machine() -> None:
    assert matches(ROOT, machine_paths(ROOT)) == []


def test_commands_are_executable_programs() -> None:
    commands = [path for path in repository_files(ROOT) if path.parent == ROOT / "script"]
    assert commands
    assert [name for name in names(commands) if not (ROOT / name).stat().st_mode & 0o111] == []
    assert set(commands) <= set(programs(ROOT))


@pytest.mark.parametrize("name", names(shell_scripts(ROOT)))
def test_shell_script_has_no_syntax_error(name: str) -> None:
    assert syntax_errors(ROOT / name) == ""


def test_python_programs_compile() -> None:
    for path in programs(ROOT):
        if "python" in interpreter(path):
            compile(path.read_bytes(), path, "exec")


def test_shellcheck_is_content() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed here")
    scripts = [str(path) for path in shell_scripts(ROOT)]
    command = ["shellcheck", "--external-sources", "--severity=warning", *scripts]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return an empty repository below a directory of its own."""
    root = tmp_path / "work" / "checkout"
    root.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    return root


@pytest.mark.parametrize(
    "line",
    [
        "pip install --" + "index-url https://example.org/simple x",
        "uv pip install --" + "extra-index-url=https://example.org x",
        "index-" + "url = https://example.org/simple",
        "export GO" + "PROXY=https://example.org",
        "PIP_INDEX_" + "URL: https://example.org",
    ],
)
def test_index_address_is_found(checkout: pathlib.Path, line: str) -> None:
    (checkout / "anything").write_text(f"first\n{line}\n")
    assert matches(checkout, INDEX_ADDRESS) == [f"anything:2: {line}"]


def test_ignored_files_are_passed_over(checkout: pathlib.Path) -> None:
    (checkout / ".gitignore").write_text("/secrets.yml\n")
    (checkout / "secrets.yml").write_text("ignore_errors" + ": true\n")
    assert matches(checkout, SWALLOWED_FAILURE, ".yml") == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("  ignore_" + "errors: true", True),
        ("  ignore_" + 'errors: "{{ ansible_check_mode }}"', True),
        ("- failed_" + "when: false", True),
        ("  failed_" + "when: 'no'", True),
        ("  failed_" + "when: result.rc not in [0, 1]", False),
        ("  failed_" + "when: false_alarm", False),
    ],
)
def test_swallowed_failure_is_found(checkout: pathlib.Path, line: str, found: bool) -> None:
    (checkout / "tasks.yml").write_text(f"{line}\n")
    assert bool(matches(checkout, SWALLOWED_FAILURE, ".yml")) is found


def test_conditional_secrecy_is_found(checkout: pathlib.Path) -> None:
    (checkout / "tasks.yml").write_text("no_" + 'log: "{{ not debug }}"\n')
    assert len(matches(checkout, CONDITIONAL_SECRECY, ".yml")) == 1


def test_machine_path_is_found(checkout: pathlib.Path) -> None:
    (checkout / "a.yml").write_text(f"path: {checkout}/b\n")
    (checkout / "b.yml").write_text(f"path: {checkout.parent}/other\n")
    (checkout / "c.yml").write_text("path: /home" + "/alice/key\n")
    (checkout / "d.yml").write_text("path: /etc/odoo/main.conf\nhome: /home" + "/debian/.ssh\n")
    assert [line.split(":")[0] for line in matches(checkout, machine_paths(checkout))] == [
        "a.yml",
        "b.yml",
        "c.yml",
    ]


def test_common_parent_names_no_machine() -> None:
    assert machine_paths(pathlib.Path("/srv/slipway")).search("data: /srv/minio") is None
    assert machine_paths(pathlib.Path("/srv/slipway")).search("data: /srv/slipway/x")


def test_syntax_error_is_found(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "broken"
    script.write_text("#!/usr/bin/env bash\nif true; then\n")
    assert "syntax error" in syntax_errors(script)
