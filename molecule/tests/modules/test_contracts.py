"""Contracts between files, a real Odoo behind a real nginx, and a schema: agreement, drift and what hides it."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

NAME, PORT = "odoo.demo.test", 8443
ROOT = pathlib.Path(__file__).resolve().parents[3]
SITE = f"https://{NAME}:{PORT}"
HEADER = "X-Contract-Version"
#: Each answer has a version of its own, so that each can drift alone.
ANSWERS = ("header", "body", "session", "rpc", "bearer", "json2")
CONTROLLERS = """
from odoo import http
from odoo.http import request


def version(key):
    parameters = request.env["ir.config_parameter"].sudo()
    return parameters.search([("key", "=", f"slipway.contract.{key}")]).value


class Contract(http.Controller):
    @http.route("/slipway/contract", type="http", auth="public", methods=["GET"])
    def contract(self):
        body = {"contract": {"version": version("body")}, "status": "healthy"}
        return request.make_json_response(body, headers=[("X-Contract-Version", version("header"))])

    @http.route("/slipway/boards", type="http", auth="user", methods=["GET"])
    def boards(self):
        boards = [{"id": f"project:{request.env.uid}", "name": "Depots"}]
        return request.make_json_response(boards, headers=[("X-Contract-Version", version("session"))])

    @http.route("/slipway/rpc", type="jsonrpc", auth="user")
    def rpc(self):
        return {"contract_version": version("rpc")}

    @http.route("/slipway/keyed", type="http", auth="bearer", methods=["GET"])
    def keyed(self):
        return request.make_response("", headers=[("X-Contract-Version", version("bearer"))])
"""
PREPARE = """
import datetime
for key in {answers}:
    env["ir.config_parameter"].set_param("slipway.contract." + key, "1.0.0")
expiry = datetime.datetime.now() + datetime.timedelta(days=1)
print("KEY=" + env(user=2)["res.users.apikeys"]._generate("rpc", "contract test", expiry))
env.cr.commit()
"""
NGINX = f"""
pid %(directory)s/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    limit_req_zone $server_name zone=contract:1m rate=1r/m;
    limit_req_status 429;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Proto $scheme;
    server {{
        listen {PORT} ssl;
        server_name {NAME};
        ssl_certificate /etc/ssl/slipway-edge/main.crt;
        ssl_certificate_key /etc/ssl/slipway-edge/main.key;
        add_header {HEADER} 9.9.9;
        location / {{
            add_header X-Edge contract-test;
            proxy_pass http://127.0.0.1:8169;
        }}
        location = /limited {{ limit_req zone=contract; proxy_pass http://127.0.0.1:8169/slipway/contract; }}
        location = /down {{ proxy_pass http://127.0.0.1:9/; }}
        location = /moved {{ return 302 /slipway/contract; }}
    }}
}}
"""
FILES = {
    "api-contract.ts": "// '0.0.1'\nexport const CONTRACT_VERSION = '%s' as const;\n",
    "mapping.py": 'import odoo.nowhere\nCONTRACT_VERSION: str = "%s"\n',
    "package.json": '{"version": "%s"}\n',
    "pyproject.toml": '[project]\nversion = "%s"\n',
    "slipway_depot/__manifest__.py": '{"name": "Depots", "version": "19.0.%s"}\n',
}


class Api:
    """The instance as it is served, with a user's password, a key, and the options to ask it on its own host."""

    def __init__(self, instance: Any, *, key: str, password: str, authority: str) -> None:
        self.instance = instance
        self.key = key
        self.login = {"database": instance.name, "user": "admin", "password": password}
        self.options = {"addresses": {NAME: "127.0.0.1"}, "ca_content": authority}

    @property
    def sources(self) -> dict[str, dict[str, Any]]:
        parameter = [["key", "=", "slipway.contract.json2"]]
        return {
            "header": {"url": f"{SITE}/slipway/contract", "header": HEADER},
            "body": {"url": f"{SITE}/slipway/contract", "path": "contract.version"},
            "session": {"url": f"{SITE}/slipway/boards", "header": HEADER, "login": self.login},
            "rpc": {
                "url": f"{SITE}/slipway/rpc",
                "body": {"jsonrpc": "2.0", "method": "call", "params": {}},
                "path": "result.contract_version",
                "login": self.login,
            },
            "bearer": {"url": f"{SITE}/slipway/keyed", "header": HEADER, "api_key": self.key},
            "json2": {
                "url": f"{SITE}/json/2/ir.config_parameter/search_read",
                "body": {"domain": parameter, "fields": ["value"]},
                "path": "0.value",
                "api_key": self.key,
                "headers": {"X-Odoo-Database": self.instance.name},
            },
        }

    @property
    def file_sources(self) -> dict[str, dict[str, Any]]:
        directory = f"{self.instance.addons}/contract"
        return {
            "typescript": {"file": f"{directory}/api-contract.ts", "constant": "CONTRACT_VERSION"},
            "python": {"file": f"{directory}/mapping.py", "constant": "CONTRACT_VERSION"},
            "json": {"file": f"{directory}/package.json", "path": "version"},
            "toml": {"file": f"{directory}/pyproject.toml", "path": "project.version"},
            "manifest": {"manifest": f"{directory}/slipway_depot", "without_series": True},
        }

    def start(self) -> None:
        """Start Odoo, which takes a moment to answer."""
        self.instance.run(
            "systemd-run --quiet --collect --unit=con-odoo --uid=odoo-main odoo -c %s --workers=0 --max-cron-threads=0 "
            "--http-port=8169 --gevent-port=8172",
            self.instance.config,
        )

    def set(self, version: str, *keys: str) -> None:
        """Let answers have a version."""
        names = ", ".join(f"'slipway.contract.{key}'" for key in keys)
        self.instance.sql(f"UPDATE ir_config_parameter SET value = '{version}' WHERE key IN ({names})")

    def write(self, name: str, version: str) -> None:
        self.instance.write(f"contract/{name}", FILES[name] % version)


def named(sources: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, **source} for name, source in sources.items()]


def statuses(result: dict[str, Any]) -> dict[str, str]:
    return {name: source["status"] for name, source in result["sources"].items()}


@pytest.fixture(scope="session")
def authority() -> str:
    from ..conftest import lab  # noqa: PLC0415, TID252

    return pathlib.Path(lab("ca")).read_text()


@pytest.fixture(scope="module")
def api(
    make_instance: Callable[[str], Any], secrets: dict[str, str], authority: str, call: Callable[..., Any]
) -> Iterator[Api]:
    """An instance with an API, served by an Odoo and an nginx of its own."""
    instance = make_instance("con_api")
    instance.put_addons("slipway_depot")
    instance.write("slipway_depot/controllers.py", CONTROLLERS)
    instance.edit("slipway_depot/__init__.py", "from . import models", "from . import controllers, models")
    odoo = f"runuser -u odoo-main -- odoo %s -c {instance.config} --no-http"
    instance.run(odoo % "" + " -i slipway_depot --stop-after-init")
    said = instance.run("printf %%s %s | " + odoo % "shell", PREPARE.format(answers=ANSWERS))
    key = next(line.removeprefix("KEY=") for line in said.splitlines() if line.startswith("KEY="))
    directory = f"/srv/slipway-tests/{instance.name}"
    instance.run("printf %%s %s > %s", NGINX % {"directory": directory}, f"{directory}/nginx.conf")
    api = Api(instance, key=key, password=secrets["demo_admin_password"], authority=authority)
    for name in FILES:
        api.write(name, "1.0.0")
    try:
        api.start()
        instance.run(
            "systemd-run --quiet --collect --unit=con-edge nginx -c %s -g 'daemon off;'", f"{directory}/nginx.conf"
        )
        # It answers 502 until Odoo is up.
        call("api_contract_info", sources=named(api.sources), wait=60, **api.options)
        yield api
    finally:
        instance.host.run("systemctl stop con-edge con-odoo")


def test_every_source_agrees_and_no_secret_is_told(api: Api, call: Callable[..., Any]) -> None:
    sources = named({**api.file_sources, **api.sources})
    for check in (False, True):
        result = call("api_contract_info", sources=sources, check=check, **api.options)
        assert result["changed"] is False
        assert result["in_agreement"] is True
        assert result["message"] == "11 sources at version 1.0.0"
        text = json.dumps(result)
        assert api.key not in text
        assert api.login["password"] not in text


def test_the_sessions_are_ended(api: Api, call: Callable[..., Any]) -> None:
    count = "find /var/lib/odoo/main/sessions -type f -newer %s | xargs -r grep -l con_api | wc -l"
    mark = f"/srv/slipway-tests/{api.instance.name}/mark"
    api.instance.run("touch %s", mark)
    call("api_contract_info", sources=named({"session": api.sources["session"]}), **api.options)
    assert api.instance.run(count, mark).strip() == "0"


@pytest.mark.parametrize("key", ANSWERS)
def test_drift_of_an_answer(api: Api, call: Callable[..., Any], key: str) -> None:
    api.set("1.1.0", key)
    try:
        result = call("api_contract_info", sources=named(api.sources), expected="1.0.0", fails=True, **api.options)
    finally:
        api.set("1.0.0", key)
    assert [(entry["name"], entry["status"], entry["version"]) for entry in result["drift"]] == [
        (key, "mismatched", "1.1.0")
    ]
    assert f"1. {key}: has 1.1.0, 1.0.0 is expected (" in result["msg"]
    assert result["not_reached"] == []


def test_drift_of_every_file(api: Api, call: Callable[..., Any]) -> None:
    for name in FILES:
        api.write(name, "2.0.0")
    try:
        result = call(
            "api_contract_info", sources=named({**api.sources, **api.file_sources}), fails=True, **api.options
        )
        assert [entry["name"] for entry in result["drift"]] == list(api.file_sources)
        assert result["drift"][0]["where"] == f"{api.instance.addons}/contract/api-contract.ts:2"
        minor = call("api_contract_info", sources=named(api.file_sources), compare="minor")
        assert minor["version"] == "2.0.0"
    finally:
        for name in FILES:
            api.write(name, "1.0.0")


def test_what_comes_between_is_unreachable_and_never_a_mismatch(api: Api, call: Callable[..., Any]) -> None:
    sources = {
        "fine": api.sources["header"],
        "taken": {"url": f"{SITE}/limited", "header": HEADER},
        "limited": {"url": f"{SITE}/limited", "header": HEADER},
        "moved": {"url": f"{SITE}/moved", "header": HEADER},
        "down": {"url": f"{SITE}/down", "header": HEADER},
        "no_session": {**api.sources["session"], "login": None},
        "no_session_rpc": {**api.sources["rpc"], "login": None},
        "wrong_password": {**api.sources["session"], "login": {**api.login, "password": "no such password"}},
        "wrong_database": {**api.sources["session"], "login": {**api.login, "database": "con_none"}},
        "wrong_key": {**api.sources["json2"], "api_key": "0123456789"},
        "no_key": {**api.sources["bearer"], "api_key": None},
        "no_model": {**api.sources["json2"], "url": f"{SITE}/json/2/no.model/search_read"},
        "no_name": {"url": "https://no-such-name.invalid/", "header": HEADER},
        "nothing": {"url": f"https://{NAME}:9/", "header": HEADER},
        "plain": {"url": f"https://{NAME}:8169/", "header": HEADER},
    }
    given = [{key: value for key, value in source.items() if value is not None} for source in named(sources)]
    result = call("api_contract_info", sources=given, expected="1.0.0", fails=True, wait=0, **api.options)
    found = statuses(result)
    # nginx's own header stands on what it answers itself, and on what it passes on from Odoo at /limited.
    assert found.pop("fine") == "found"
    assert found.pop("taken") == "invalid"
    assert set(found.values()) == {"unreachable"}, result["msg"]
    assert sorted(result["not_reached"]) == sorted(found)
    details = {name: source["detail"] for name, source in result["sources"].items()}
    assert "429" in details["limited"]
    assert "302" in details["moved"]
    assert "502" in details["down"]
    assert "303" in details["no_session"]
    assert "SessionExpired" in details["no_session_rpc"]
    assert "refuses user admin" in details["wrong_password"]
    assert "con_none" in details["wrong_database"]
    assert "401" in details["wrong_key"]
    assert "404" in details["no_model"]
    assert "does not resolve" in details["no_name"]
    told = call(
        "api_contract_info",
        sources=[source for source in given if source["name"] in ("fine", "moved", "down")],
        fail_on_unreachable=False,
        wait=0,
        **api.options,
    )
    assert told["not_reached"] == ["moved", "down"]


def test_a_certificate_that_is_not_trusted(api: Api, call: Callable[..., Any]) -> None:
    result = call(
        "api_contract_info", sources=named({"a": api.sources["bearer"]}), addresses={NAME: "127.0.0.1"}, fails=True
    )
    assert statuses(result) == {"a": "unreachable"}
    assert "certificate with ca_path or ca_content" in result["sources"]["a"]["detail"]


def test_a_page_without_the_header_is_missing_it(api: Api, call: Callable[..., Any]) -> None:
    sources = {
        "page": {"url": f"{SITE}/web/login", "header": HEADER},
        "version": {"url": f"{SITE}/web/health", "path": "contract.version"},
        "html": {"url": f"{SITE}/web/login", "path": "contract.version"},
    }
    result = call("api_contract_info", sources=named(sources), fail_on_drift=False, **api.options)
    assert statuses(result) == {"page": "missing", "version": "missing", "html": "invalid"}


def test_an_odoo_that_restarts_is_waited_for(api: Api, call: Callable[..., Any]) -> None:
    api.instance.run("systemctl stop con-odoo")
    down = call("api_contract_info", sources=named({"a": api.sources["header"]}), fails=True, wait=0, **api.options)
    assert "502" in down["sources"]["a"]["detail"]
    api.start()
    result = call("api_contract_info", sources=named({"a": api.sources["header"]}), wait=60, **api.options)
    assert result["version"] == "1.0.0"


def test_the_edge_of_the_site_itself(call: Callable[..., Any], authority: str) -> None:
    sources = {
        "redirects": {"url": f"https://{NAME}/", "header": HEADER},
        "closed": {"url": f"https://{NAME}/web/database/manager", "header": HEADER},
        "health": {"url": f"https://{NAME}/health", "path": "status"},
    }
    result = call(
        "api_contract_info",
        sources=named(sources),
        fail_on_unreachable=False,
        addresses={NAME: "127.0.0.1"},
        ca_content=authority,
    )
    assert statuses(result) == {"redirects": "unreachable", "closed": "unreachable", "health": "found"}


PLAY = """
- hosts: odoo_edge
  gather_facts: false
  vars:
    checkout: "{{ playbook_dir }}/checkout"
  tasks:
    - name: Read the contract of the checkout
      slipway.odoo.api_contract_info:
        sources:
          - {name: typescript, file: "{{ checkout }}/api-contract.ts", constant: CONTRACT_VERSION}
          - {name: openapi, file: "{{ checkout }}/openapi.yaml", path: info.version}
        schemas:
          - schema: "{{ checkout }}/schemas/boards.json"
            files: ["{{ checkout }}/fixtures/*.json"]
      delegate_to: localhost
      run_once: true
      register: contract

    - name: Hold the site to it
      slipway.odoo.api_contract_info:
        expected: "{{ contract.version }}"
        sources: "{{ sources }}"
        addresses: {odoo.demo.test: 127.0.0.1}
        ca_content: "{{ authority }}"

    - name: Validate what the site answers on the controller
      slipway.odoo.api_contract_info:
        expected: "{{ contract.version }}"
        sources: "{{ sources | map('combine', {'schema': checkout ~ '/schemas/boards.json'}) }}"
        addresses: {odoo.demo.test: "{{ ansible_host }}"}
        ca_content: "{{ authority }}"
      delegate_to: localhost
"""


def test_files_of_the_controller_and_a_site_in_one_play(
    api: Api, tmp_path: pathlib.Path, run_playbook: Callable[..., Any], authority: str
) -> None:
    board = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "required": ["id", "name"]}
    files = {
        "api-contract.ts": FILES["api-contract.ts"] % "1.0.0",
        "openapi.yaml": "info:\n  version: '1.0.0'\n",
        "schemas/boards.json": json.dumps({"type": "array", "minItems": 1, "items": {"$ref": "board.json"}}),
        "schemas/board.json": json.dumps(board),
        "fixtures/boards.json": json.dumps([{"id": "project:1", "name": "Finance"}]),
    }

    def write(name: str, text: str) -> None:
        path = tmp_path / "checkout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    for name, text in files.items():
        write(name, text)
    (tmp_path / "play.yml").write_text(PLAY)
    variables = {"authority": authority, "sources": named({"boards": api.sources["session"]})}
    (tmp_path / "vars.yml").write_text(yaml.safe_dump(variables))

    def run() -> Any:
        return run_playbook(str(tmp_path / "play.yml"), "-e", f"@{tmp_path / 'vars.yml'}")

    done = run()
    assert done.returncode == 0, done.stdout

    write("openapi.yaml", "info:\n  version: '1.1.0'\n")
    write("fixtures/boards.json", "[{}]")
    done = run()
    assert done.returncode != 0
    assert "openapi: has 1.1.0, typescript has 1.0.0" in done.stdout
    assert "boards.json at /0: 'id' is a required property" in done.stdout

    write("api-contract.ts", FILES["api-contract.ts"] % "1.1.0")
    write("fixtures/boards.json", files["fixtures/boards.json"])
    done = run()
    assert done.returncode != 0
    assert "boards: has 1.0.0, 1.1.0 is expected" in done.stdout
    assert api.login["password"] not in done.stdout


STAGE = """
- hosts: odoo_edge
  gather_facts: false
  vars:
    slipway_verify_options: {address: 127.0.0.1, wait: 0}
    slipway_contracts: "{{ odoo_instances | subelements('contracts') }}"
    edge_tls_ca: {certificate: "{{ playbook_dir }}/ca.crt"}
  tasks:
    - ansible.builtin.import_tasks: %s
"""


def test_contracts_of_a_site_hold_its_answers_to_schemas_of_the_controller(
    api: Api, tmp_path: pathlib.Path, run_playbook: Callable[..., Any], authority: str
) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas/boards.json").write_text('{"minItems": 1, "items": {"$ref": "board.yaml"}}')
    (tmp_path / "schemas/board.yaml").write_text("required: [id, name]")
    (tmp_path / "ca.crt").write_text(authority)
    (tmp_path / "play.yml").write_text(STAGE % (ROOT / "playbooks/stages/tasks/contracts.yml"))
    # Not as installed by somebody else: the stage itself must see to it.
    api.instance.host.run("DEBIAN_FRONTEND=noninteractive apt-get -qy purge python3-jsonschema")

    def run(*options: str, **contract: Any) -> str:
        boards = {
            "name": "boards",
            **api.sources["session"],
            "schema": str(tmp_path / "schemas/../schemas/boards.json"),
        }
        held = {"name": "board", "expected": "1.0.0", "sources": [boards], **contract}
        site = {"odoo_instances": [{"name": api.instance.name, "domains": [NAME], "contracts": [held]}]}
        done = run_playbook(str(tmp_path / "play.yml"), "-e", json.dumps(site), *options)
        output = " ".join(done.stdout.split())
        assert api.login["password"] not in output
        assert (done.returncode == 0) is (" failed=0 " in output)
        return output

    directory = {"schema_directory": str(tmp_path / "schemas")}
    checked = run("--check", **directory)
    assert "jsonschema is needed to validate with a schema" in checked
    assert " failed=0 " in checked
    held = run(**directory)
    assert "1 source at version 1.0.0" in held
    assert " changed=1 " in held
    assert " changed=0 " in run("--check", **directory)
    assert "board.yaml is not among schema_files" in run()

    (tmp_path / "schemas/board.yaml").write_text("required: [id, owner]")
    assert "at /0: 'owner' is a required property" in run(**directory)
