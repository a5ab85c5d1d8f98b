"""Hold the roles to their contract: declared inputs, secrets without defaults, rooms that stay apart."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jinja2
import jinja2.nodes
import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
STAGES = ["preflight", "install", "configure", "service", "verify"]
CONDITIONS = {"when", "failed_when", "changed_when", "until", "that"}
SECRET = re.compile(r"(^|_)(password|passwd|passphrase|secret|token|api_key)$")
SITE_VARIABLES = {"groups", "group_names", "hostvars"}
MAIN_ACTIONS = {
    "ansible.builtin.import_tasks",
    "ansible.builtin.include_tasks",
    "ansible.builtin.meta",
}

Problems = list[str]


class AnyTagLoader(yaml.SafeLoader):
    """Reads Ansible's YAML: ``!vault``, ``!unsafe`` and the like are values as any other."""


AnyTagLoader.add_multi_constructor("!", lambda loader, _suffix, node: loader.construct_scalar(node))

JINJA = jinja2.Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"], autoescape=True)


def load(path: pathlib.Path) -> Any:
    return yaml.load(path.read_text(), AnyTagLoader) if path.exists() else None  # noqa: S506 (a SafeLoader)


def strings(value: Any, *, key: str = "") -> Iterator[str]:
    """Yield every template in a YAML document; a bare condition becomes one."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from strings(name)
            yield from strings(inner, key=str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner, key=key)
    elif isinstance(value, str):
        if "{{" in value or "{%" in value:
            yield value
        elif key in CONDITIONS:
            yield "{{ " + value + " }}"


def free_variables(template: str) -> set[str]:
    """Return the variables that a template reads and does not set; it may use unknown filters and tests."""
    names = list(JINJA.parse(template).find_all(jinja2.nodes.Name))
    stored = {name.name for name in names if name.ctx == "store"}
    return {name.name for name in names if name.ctx == "load"} - stored


def tasks(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every task of a task list, those in blocks included."""
    for task in value or []:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks(task.get(part))


@dataclasses.dataclass(frozen=True)
class Role:
    """One directory below ``roles/``."""

    path: pathlib.Path
    others: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.path.name

    @functools.cached_property
    def options(self) -> dict[str, dict[str, Any]]:
        """The options of all entry points."""
        document = load(self.path / "meta" / "argument_specs.yml") or {}
        entries = document.get("argument_specs", {}).values()
        return {name: option for entry in entries for name, option in (entry.get("options") or {}).items()}

    @functools.cached_property
    def defaults(self) -> dict[str, Any]:
        return load(self.path / "defaults" / "main.yml") or {}

    @functools.cached_property
    def documents(self) -> dict[pathlib.Path, Any]:
        """Tasks, handlers, variables and defaults by path."""
        found = (
            path for part in ("tasks", "handlers", "vars", "defaults") for path in self.path.glob(f"{part}/**/*.yml")
        )
        return {path.relative_to(self.path): load(path) for path in found}

    @functools.cached_property
    def tasks(self) -> list[dict[str, Any]]:
        return [
            task
            for path, document in self.documents.items()
            if path.parts[0] in ("tasks", "handlers")
            for task in tasks(document)
        ]

    @functools.cached_property
    def used(self) -> dict[str, set[pathlib.Path]]:
        """Each variable that a template of the role reads, with the files that do."""
        found: dict[str, set[pathlib.Path]] = {}
        templates = [(path, text) for path, document in self.documents.items() for text in strings(document)]
        templates += [
            (path.relative_to(self.path), path.read_text())
            for path in self.path.glob("templates/**/*")
            if path.is_file()
        ]
        for path, text in templates:
            for name in free_variables(text):
                found.setdefault(name, set()).add(path)
        return found


def where(paths: set[pathlib.Path]) -> str:
    return ", ".join(sorted(map(str, paths)))


def disagreements(role: Role) -> Problems:
    """``defaults/main.yml`` and the argument specs name the same inputs with the same values."""
    problems = [f"{name} is in defaults/main.yml only" for name in role.defaults if name not in role.options]
    for name, option in role.options.items():
        if name not in role.defaults:
            optional = option.get("required") is False or "optional" in str(option.get("description")).lower()
            if "default" in option:
                problems.append(f"{name} has a default in the specs only")
            elif not option.get("required") and not optional:
                problems.append(f"{name} has no default: say `required: true`, or that it is optional")
        elif option.get("required"):
            problems.append(f"{name} is required and has a default")
        elif "default" in option and option["default"] != role.defaults[name]:
            problems.append(f"{name}: the specs say {option['default']!r}, defaults/main.yml {role.defaults[name]!r}")
    return problems


def undocumented(role: Role) -> Problems:
    """Every option, at every depth, has a description, a type, and elements where it is a list."""
    problems = [] if role.options or not role.defaults else ["meta/argument_specs.yml declares nothing"]

    def visit(prefix: str, options: dict[str, dict[str, Any]]) -> None:
        for name, option in options.items():
            if not option.get("description"):
                problems.append(f"{prefix}{name} has no description")
            if not option.get("type"):
                problems.append(f"{prefix}{name} has no type")
            if option.get("type") == "list" and not option.get("elements"):
                problems.append(f"{prefix}{name} is a list of unknown elements")
            visit(f"{prefix}{name}.", option.get("options") or {})

    visit("", role.options)
    return problems


def given_secrets(role: Role) -> Problems:
    """A secret is marked as one and has no default anywhere."""
    problems = []

    def visit(prefix: str, options: dict[str, dict[str, Any]]) -> None:
        for name, option in options.items():
            if SECRET.search(name) and option.get("type") == "str" and "no_log" not in option:
                problems.append(f"{prefix}{name} is a secret without no_log")
            if option.get("no_log") and "default" in option:
                problems.append(f"{prefix}{name} is a secret with a default")
            visit(f"{prefix}{name}.", option.get("options") or {})

    visit("", role.options)
    problems += [f"{name} is a secret in defaults/main.yml" for name in role.defaults if SECRET.search(name)]
    problems += [
        f"{name} is a secret in defaults/main.yml"
        for name, option in role.options.items()
        if option.get("no_log") and name in role.defaults and not SECRET.search(name)
    ]
    return problems


def undeclared(role: Role) -> Problems:
    """What the role reads under its own prefix is an input."""
    return [
        f"{name} ({where(paths)}) is no input of the role; internals begin with two underscores"
        for name, paths in sorted(role.used.items())
        if name.startswith(f"{role.name}_") and name not in role.options
    ]


def foreign(role: Role) -> Problems:
    """The role reads neither another role's variables nor the inventory: playbooks wire roles."""
    prefixes = tuple(prefix for other in role.others if other != role.name for prefix in (f"{other}_", f"__{other}_"))
    own = (f"{role.name}_", f"__{role.name}_")
    return [
        f"{name} ({where(paths)}) is not this role's to read"
        for name, paths in sorted(role.used.items())
        if name in SITE_VARIABLES or (name.startswith(prefixes) and not name.startswith(own))
    ]


def misnamed_internals(role: Role) -> Problems:
    """Registers, facts and variables of the role begin with two underscores and its name."""
    names = [task["register"] for task in role.tasks if "register" in task]
    for task in role.tasks:
        names += [name for name in task.get("ansible.builtin.set_fact", {}) if name != "cacheable"]
        names += [task["loop_control"]["loop_var"]] if "loop_var" in task.get("loop_control", {}) else []
    names += [name for path, document in role.documents.items() if path.parts[0] == "vars" for name in document or {}]
    return [f"{name} should begin with __{role.name}_" for name in names if not name.startswith(f"__{role.name}_")]


def main_does_more(role: Role) -> Problems:
    """``tasks/main.yml`` includes, in the order of the stages, and does nothing else."""
    included, problems = [], []
    for task in load(role.path / "tasks" / "main.yml") or []:
        actions = [key for key in task if "." in key]
        if len(actions) != 1 or actions[0] not in MAIN_ACTIONS:
            problems.append(f"{task.get('name', task)!r} is no include")
        elif actions[0] == "ansible.builtin.meta":
            if task[actions[0]] != "flush_handlers":
                problems.append(f"{task.get('name')!r} is no include")
        else:
            argument = task[actions[0]]
            included.append(argument["file"] if isinstance(argument, dict) else argument)
    # A role may split a stage by method (install_package.yml) and add files of its own between the stages.
    stages = [stage for file in included for stage in STAGES if re.match(rf"{stage}(_|\.yml)", file)]
    if stages != STAGES:
        problems.append(f"includes {included}: wanted {STAGES}, in this order")
    return problems


CHECKS = [
    disagreements,
    undocumented,
    given_secrets,
    undeclared,
    foreign,
    misnamed_internals,
    main_does_more,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ROLES)
def test_role_keeps_the_contract(name: str, check: Callable[[Role], Problems]) -> None:
    problems = check(Role(ROOT / "roles" / name, others=tuple(ROLES)))
    assert not problems, "\n".join(problems)


def test_there_are_roles() -> None:
    assert {"base", "edge", "logrotate", "odoo", "postgresql"} <= set(ROLES)


GOOD = {
    "defaults/main.yml": """
        demo_port: 80
        demo_name: "{{ ansible_facts['hostname'] }}"
        """,
    "meta/argument_specs.yml": """
        argument_specs:
          main:
            options:
              demo_port: {type: int, default: 80, description: Port.}
              demo_name: {type: str, description: Name; that of the host unless given.}
              demo_password: {type: str, required: true, no_log: true, description: Password.}
              demo_sites:
                type: list
                elements: dict
                description: Optional sites.
                options:
                  token: {type: str, no_log: true, description: Token.}
        """,
    "tasks/main.yml": """
        - ansible.builtin.import_tasks: preflight.yml
        - ansible.builtin.include_tasks: "install_{{ demo_name }}.yml"
        - ansible.builtin.import_tasks: configure.yml
        - ansible.builtin.import_tasks: service.yml
        - ansible.builtin.meta: flush_handlers
        - ansible.builtin.import_tasks: verify.yml
        """,
    "tasks/service.yml": """
        - ansible.builtin.command: echo {{ demo_port }}
          register: __demo_echo
          when: demo_name != '' and __demo_flag
        """,
    "vars/main.yml": "__demo_flag: true",
    "templates/demo.conf.j2": "{% for site in demo_sites %}{{ site.token }}{% endfor %}{# other_port #}",
}


def make_role(directory: pathlib.Path, changed: dict[str, str]) -> Role:
    role = directory / "demo"
    for name, text in {**GOOD, **changed}.items():
        path = role / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Role(role, others=("demo", "other"))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_good_role_passes(tmp_path: pathlib.Path, check: Callable[[Role], Problems]) -> None:
    assert check(make_role(tmp_path, {})) == []


def specs(options: str) -> dict[str, str]:
    return {"meta/argument_specs.yml": f"argument_specs: {{main: {{options: {{{options}}}}}}}"}


FAULTS = [
    (disagreements, specs(""), "demo_port is in defaults/main.yml only"),
    (disagreements, {"defaults/main.yml": "demo_name: x"}, "demo_port has a default in the specs only"),
    (disagreements, {"defaults/main.yml": "demo_port: 81"}, "the specs say 80, defaults/main.yml 81"),
    (disagreements, {"defaults/main.yml": "demo_port: '80'"}, "the specs say 80, defaults/main.yml '80'"),
    (
        disagreements,
        {"defaults/main.yml": 'demo_port: "{{ 80 }}"'},
        "the specs say 80, defaults/main.yml '{{ 80 }}'",
    ),
    (disagreements, {"defaults/main.yml": "demo_port: 80"}, "demo_name has no default"),
    (disagreements, {"defaults/main.yml": "demo_password: x"}, "demo_password is required and has a default"),
    (undocumented, specs(""), "declares nothing"),
    (undocumented, specs("demo_port: {type: int}"), "demo_port has no description"),
    (undocumented, specs("demo_port: {description: Port.}"), "demo_port has no type"),
    (undocumented, specs("a: {type: list, description: A.}"), "a is a list of unknown elements"),
    (
        undocumented,
        specs("a: {type: dict, description: A., options: {b: {type: str}}}"),
        "a.b has no description",
    ),
    (
        given_secrets,
        specs("demo_token: {type: str, description: T.}"),
        "demo_token is a secret without no_log",
    ),
    (
        given_secrets,
        specs("a: {type: dict, options: {password: {type: str}}}"),
        "a.password is a secret without no_log",
    ),
    (
        given_secrets,
        specs("demo_key: {type: str, no_log: true, default: x}"),
        "demo_key is a secret with a default",
    ),
    (
        given_secrets,
        {"defaults/main.yml": "demo_password: x"},
        "demo_password is a secret in defaults/main.yml",
    ),
    (
        given_secrets,
        {**specs("demo_key: {type: str, no_log: true}"), "defaults/main.yml": "demo_key: x"},
        "demo_key is a secret in defaults/main.yml",
    ),
    (undeclared, {"templates/demo.conf.j2": "{{ demo_size }}"}, "demo_size (templates/demo.conf.j2)"),
    (undeclared, {"tasks/service.yml": "- when: demo_size > 1"}, "demo_size (tasks/service.yml)"),
    (undeclared, {"tasks/service.yml": "- block: [{debug: {msg: '{{ demo_size }}'}}]"}, "demo_size"),
    (undeclared, {"handlers/main.yml": "- loop: '{{ demo_sizes }}'"}, "demo_sizes (handlers/main.yml)"),
    (undeclared, {"vars/main.yml": "__demo_a: '{{ demo_size }}'"}, "demo_size (vars/main.yml)"),
    (foreign, {"tasks/service.yml": "- when: other_port > 1"}, "other_port (tasks/service.yml)"),
    (foreign, {"templates/demo.conf.j2": "{{ __other_port }}"}, "__other_port"),
    (foreign, {"vars/main.yml": "__demo_a: \"{{ groups['db'] }}\""}, "groups (vars/main.yml)"),
    (foreign, {"tasks/service.yml": "- loop: '{{ hostvars }}'"}, "hostvars"),
    (foreign, {"tasks/service.yml": "- assert: {that: [\"'db' in group_names\"]}"}, "group_names"),
    (
        misnamed_internals,
        {"tasks/service.yml": "- register: demo_echo"},
        "demo_echo should begin with __demo_",
    ),
    (misnamed_internals, {"tasks/service.yml": "- ansible.builtin.set_fact: {x: 1}"}, "x should begin"),
    (misnamed_internals, {"tasks/service.yml": "- loop_control: {loop_var: site}"}, "site should begin"),
    (misnamed_internals, {"vars/main.yml": "demo_flag: true"}, "demo_flag should begin with __demo_"),
    (main_does_more, {"tasks/main.yml": "- {name: X, ansible.builtin.debug: {msg: x}}"}, "'X' is no include"),
    (main_does_more, {"tasks/main.yml": "- {name: X, ansible.builtin.meta: end_play}"}, "'X' is no include"),
    (
        main_does_more,
        {"tasks/main.yml": "- ansible.builtin.import_tasks: install.yml"},
        "wanted ['preflight'",
    ),
]


@pytest.mark.parametrize(("check", "changed", "problem"), FAULTS)
def test_fault_is_found(
    tmp_path: pathlib.Path, check: Callable[[Role], Problems], changed: dict[str, str], problem: str
) -> None:
    found = check(make_role(tmp_path, changed))
    assert any(problem in line for line in found), found
