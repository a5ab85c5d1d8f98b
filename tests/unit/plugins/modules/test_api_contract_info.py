"""The whole module: drift of each kind of source, files and a real HTTPS server together, and bad options."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.slipway.odoo.plugins.modules import api_contract_info
from ansible_collections.slipway.odoo.tests.unit.site_server import Authority, OdooSite, Reply, serve

NAME = "api.example.test"
PASSWORD, KEY = "right horse battery", "k3y-of-the-api"
FILES = {
    "api-contract.ts": "// const CONTRACT_VERSION = '0';\nexport const CONTRACT_VERSION = '{}' as const;\n",
    "mapping.py": '"""CONTRACT_VERSION = 0"""\nCONTRACT_VERSION: str = "{}"\n',
    "package.json": '{{"name": "board", "version": "{}"}}',
    "openapi.yaml": "openapi: 3.1.0\ninfo:\n  version: '{}'\n",
    "pyproject.toml": '[project]\nversion = "{}"\n',
    "taskboard/__manifest__.py": "{{'name': 'Taskboard', 'version': '19.0.{}'}}",
}
SCHEMA = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server_context(authority):
    return authority.context(NAME)


@pytest.fixture(scope="module")
def contexts():
    """Reading the system's authorities takes longer than a test: once for each way to trust."""
    return functools.cache(api_contract_info.tls_context)


@pytest.fixture(autouse=True)
def remembered_contexts(contexts, monkeypatch):
    monkeypatch.setattr(api_contract_info, "tls_context", contexts)


@pytest.fixture
def run(capsys):
    """Run the module, and give what it returns."""

    def call(*, check_mode=False, **arguments: Any) -> dict[str, Any]:
        with (
            patch_module_args({**arguments, "_ansible_check_mode": check_mode}),
            pytest.raises(SystemExit) as ended,
        ):
            api_contract_info.main()
        output = capsys.readouterr().out
        for secret in (PASSWORD, KEY):
            assert secret not in output
        result = json.loads(output)
        assert ended.value.code == (1 if result.get("failed") else 0)
        assert result.get("changed", False) is False
        # Ansible gives a meaning of its own to it.
        assert "unreachable" not in result
        return result

    return call


@pytest.fixture
def checkout(tmp_path):
    """A directory with a contract in files of every kind; calling it sets the version of one or of all."""

    def write(version, *names):
        for name in names or FILES:
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(FILES[name].format(version))

    write.path = tmp_path
    write("1.0.0")
    return write


@pytest.fixture
def api(server_context, authority):
    """An API beside an Odoo: everybody gets a version that was set, those logged in or with a key theirs."""

    class Api:
        def __init__(self):
            self.site = OdooSite(password=PASSWORD)
            self.versions = dict.fromkeys(("header", "body", "login", "bearer", "json2"), "1.0.0")
            self.site.replies.update(
                {
                    "/health": lambda call: self.answer(header=self.versions["header"], body=self.versions["body"]),
                    "/boards": self.boards,
                    "/cards": self.cards,
                    "/json/2/ir.config_parameter/get_param": self.parameter,
                }
            )

        def answer(self, *, header, **body):
            return Reply(200, (("X-Contract-Version", header),), json.dumps({"data": body}).encode())

        def boards(self, call):
            if "session_id=abc123" not in (call.headers["Cookie"] or ""):
                return Reply(303, (("Location", "/web/login"),))
            return self.answer(header=self.versions["login"], id="project:1")

        def cards(self, call):
            right = call.headers["Authorization"] == f"Bearer {KEY}"
            return self.answer(header=self.versions["bearer"]) if right else Reply(401)

        def parameter(self, call):
            right = call.method == "POST" and call.headers["Authorization"] == f"Bearer {KEY}"
            if not right or json.loads(call.body) != {"key": "contract"}:
                return Reply(401)
            return Reply(200, (), json.dumps(self.versions["json2"]).encode())

        @property
        def options(self):
            return {"addresses": {NAME: "127.0.0.1"}, "ca_path": str(authority.path), "timeout": 5, "wait": 0}

        @property
        def sources(self):
            base, login = f"https://{NAME}:{self.port}", {"user": "admin", "password": PASSWORD, "database": "main"}
            header = "x-contract-version"
            return [
                {"name": "header", "url": f"{base}/health", "header": header},
                {"name": "body", "url": f"{base}/health", "path": "data.body"},
                {"name": "login", "url": f"{base}/boards", "header": header, "login": login},
                {"name": "bearer", "url": f"{base}/cards", "header": header, "api_key": KEY},
                {
                    "name": "json2",
                    "url": f"{base}/json/2/ir.config_parameter/get_param",
                    "body": {"key": "contract"},
                    "path": ".",
                    "api_key": KEY,
                },
            ]

    api = Api()
    with serve(api.site, context=server_context) as api.port:
        yield api


def file_sources(path):
    return [
        {"name": "typescript", "file": f"{path}/api-contract.ts", "constant": "CONTRACT_VERSION"},
        {"name": "python", "file": f"{path}/mapping.py", "constant": "CONTRACT_VERSION"},
        {"name": "json", "file": f"{path}/package.json", "path": "version"},
        {"name": "yaml", "file": f"{path}/openapi.yaml", "path": "info.version"},
        {"name": "toml", "file": f"{path}/pyproject.toml", "path": "project.version"},
        {"name": "manifest", "manifest": f"{path}/taskboard", "without_series": True},
    ]


@pytest.mark.parametrize("check_mode", [False, True])
def test_all_kinds_of_sources_agree(run, checkout, api, check_mode):
    result = run(sources=file_sources(checkout.path) + api.sources, **api.options, check_mode=check_mode)
    assert (result["in_agreement"], result["version"], result["message"]) == (
        True,
        "1.0.0",
        "11 sources at version 1.0.0",
    )
    assert (result["drift"], result["not_reached"], result["schema_errors"]) == ([], [], [])
    assert {entry["status"] for entry in result["sources"].values()} == {"found"}
    assert result["sources"]["typescript"] == {
        "status": "found",
        "version": "1.0.0",
        "where": f"{checkout.path}/api-contract.ts:2",
        "detail": "",
    }
    assert result["sources"]["header"]["where"] == f"GET https://{NAME}:{api.port}/health, header x-contract-version"
    assert api.site.sessions == set()


@pytest.mark.parametrize("name", list(FILES))
def test_drift_in_a_file(run, checkout, name):
    checkout("1.1.0", name)
    sources = file_sources(checkout.path)
    drifted = dict(zip(FILES, (source["name"] for source in sources), strict=True))[name]
    result = run(sources=sources, expected="1.0.0")
    assert result["failed"]
    assert [(entry["name"], entry["status"], entry["version"]) for entry in result["drift"]] == [
        (drifted, "mismatched", "1.1.0")
    ]
    assert result["msg"].startswith(f"1 fault in the contract:\n1. {drifted}: has 1.1.0, 1.0.0 is expected (")


@pytest.mark.parametrize("name", ["header", "body", "login", "bearer", "json2"])
def test_drift_in_an_answer(run, api, name):
    api.versions[name] = "2.0.0"
    result = run(sources=api.sources, expected="1.0.0", **api.options)
    assert result["failed"]
    assert [(entry["name"], entry["status"], entry["version"]) for entry in result["drift"]] == [
        (name, "mismatched", "2.0.0")
    ]
    assert result["not_reached"] == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(429, (("X-Contract-Version", "9"),)),
        Reply(303, (("Location", "/web/login"),)),
        Reply(502),
        None,
    ],
    ids=["limited", "redirected", "gateway", "hung up"],
)
def test_what_is_not_reached_has_not_drifted(run, api, reply):
    api.site.replies["/health"] = reply
    result = run(sources=api.sources, expected="1.0.0", **api.options)
    assert result["failed"]
    assert (result["drift"], result["not_reached"]) == ([], ["header", "body"])
    assert result["sources"]["header"]["version"] is None
    assert "1. header: not reached, which says nothing of its version: " in result["msg"]
    result = run(sources=api.sources, expected="1.0.0", **api.options, fail_on_unreachable=False)
    assert (result["in_agreement"], result["not_reached"]) == (False, ["header", "body"])


def test_an_answer_without_its_header_or_value_is_missing_it(run, api):
    api.site.replies["/health"] = Reply(200, (), b"{}")
    result = run(sources=api.sources[:2], **api.options, fail_on_drift=False)
    assert {name: entry["status"] for name, entry in result["sources"].items()} == {
        "header": "missing",
        "body": "missing",
    }
    assert (result["version"], result["in_agreement"]) == (None, False)


def test_without_failing_the_result_tells(run, checkout):
    checkout("1.1.0", "mapping.py")
    sources = file_sources(checkout.path)
    result = run(sources=sources, fail_on_drift=False, compare="exact", reference="python")
    assert (result["version"], len(result["drift"])) == ("1.1.0", 5)
    assert result["drift"][0]["detail"] == "has 1.0.0, python has 1.1.0"
    assert run(sources=sources, compare="major")["in_agreement"] is True


def test_one_message_names_all_faults(run, checkout, api):
    checkout("1.1.0", "mapping.py")
    (checkout.path / "package.json").write_text("{")
    (checkout.path / "fixture.json").write_text('{"id": 7}')
    api.site.replies["/health"] = Reply(429)
    result = run(
        sources=file_sources(checkout.path) + api.sources[:1],
        expected="1.0.0",
        schemas=[{"schema": SCHEMA, "files": [f"{checkout.path}/fix*.json"]}],
        **api.options,
    )
    lines = result["msg"].splitlines()
    assert lines[0] == "4 faults in the contract:"
    assert [line.split(":")[0] for line in lines[1:]] == [
        "1. python",
        "2. json",
        "3. header",
        f"4. {checkout.path}/fixture.json",
    ]


def test_bodies_and_documents_are_held_to_schemas(run, checkout, api):
    envelope = {"properties": {"data": SCHEMA}}
    api.site.replies["/html"] = Reply(200, (("X-Contract-Version", "1.0.0"),), b"<html>")
    login, html = {**api.sources[2], "schema": envelope}, {**api.sources[0], "name": "html", "schema": envelope}
    html["url"] = f"https://{NAME}:{api.port}/html"
    assert run(sources=[login], **api.options)["in_agreement"] is True
    sources = [
        login,
        {**api.sources[1], "schema": envelope},
        html,
        {**file_sources(checkout.path)[2], "schema": SCHEMA},
    ]
    result = run(sources=sources, **api.options)
    assert {entry["status"] for entry in result["sources"].values()} == {"found"}
    assert [(error["pointer"], error["message"][:30]) for error in result["schema_errors"]] == [
        ("/data", "'id' is a required property"),
        (None, "cannot be parsed as JSON: Expe"),
        ("", "'id' is a required property"),
    ]
    assert [error["where"] for error in result["schema_errors"]] == [
        f"GET https://{NAME}:{api.port}/health, path data.body",
        f"GET https://{NAME}:{api.port}/html, header x-contract-version",
        f"{checkout.path}/package.json",
    ]


def test_files_are_held_to_schemas(run, tmp_path):
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    (tmp_path / "fixtures/deep").mkdir(parents=True)
    for name, text in {"a.json": '{"id": "1"}', "deep/b.yaml": "id: '2'", "deep/c.json": "{"}.items():
        (tmp_path / "fixtures" / name).write_text(text)
    schema = str(tmp_path / "schema.json")

    def check(*patterns):
        files = [f"{tmp_path}/fixtures/{pattern}" for pattern in patterns]
        return run(schemas=[{"schema": schema, "files": files}], fail_on_drift=False)

    assert check("*.json", "**/*.yaml")["message"] == "All documents satisfy their schemas"
    result = check("**/*.json", "none*.json", "one.json")
    errors = result["schema_errors"]
    assert [(error["where"].removeprefix(f"{tmp_path}/fixtures/"), error["message"][:24]) for error in errors] == [
        ("deep/c.json", "cannot be parsed as JSON"),
        ("none*.json", "no file fits this patter"),
        ("one.json", "there is no such file, s"),
    ]
    assert {(error["schema"], error["pointer"]) for error in errors} == {(schema, None)}
    assert f"none*.json: no file fits this pattern, so none is validated (schema {schema})" in result["message"]
    assert "breaks the schema" not in result["message"]


def test_more_errors_than_are_shown(run, tmp_path):
    (tmp_path / "a.json").write_text("[" + "1," * 30 + "1]")
    schemas = [{"schema": {"items": {"type": "string"}}, "files": [f"{tmp_path}/a.json"]}]
    result = run(schemas=schemas)
    assert len(result["schema_errors"]) == 20
    assert result["msg"].endswith("There are more breaches of schemas than are shown.")


CONSTANT = {"name": "a", "file": "/a.ts", "constant": "V"}
URL = {"name": "a", "url": "https://a.test/", "header": "X-V"}
LOGIN = {"user": "u", "password": PASSWORD, "database": "d"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing to look at"),
        ({"sources": [CONSTANT, CONSTANT]}, "several sources are called a"),
        ({"sources": [CONSTANT], "reference": "b"}, "reference b is none of the sources a"),
        ({"sources": [CONSTANT], "expected": "1 0"}, "expected holds '1 0', which is no version"),
        ({"sources": [CONSTANT], "expected": "main", "compare": "minor"}, "which compare: minor cannot use"),
        ({"sources": [CONSTANT], "expected": "1", "reference": "a"}, "mutually exclusive"),
        ({"sources": [{"name": "a"}]}, "one of the following is required: file, manifest, url"),
        ({"sources": [{**CONSTANT, "url": "https://a.test"}]}, "mutually exclusive"),
        ({"sources": [{**CONSTANT, "path": "x"}]}, "source a: a file needs either constant or path"),
        ({"sources": [{"name": "a", "file": "/a.ts"}]}, "a file needs either constant or path"),
        ({"sources": [{**CONSTANT, "file": "a.ts"}]}, "source a: file a.ts must be an absolute path"),
        ({"sources": [{"name": "a", "manifest": "m"}]}, "manifest m must be an absolute path"),
        ({"sources": [{"name": "a", "manifest": "/m", "path": "x"}]}, "a manifest has no path"),
        ({"sources": [{**CONSTANT, "file": "/a.rb"}]}, "neither TypeScript, JavaScript nor Python"),
        ({"sources": [{"name": "a", "file": "/a.ini", "path": "x"}]}, "neither JSON, YAML nor TOML"),
        ({"sources": [{"name": "a", "file": "/a.json", "path": ""}]}, "path is empty"),
        ({"sources": [{**CONSTANT, "schema": {}}]}, "a schema is for a document"),
        ({"sources": [{"name": "a", "file": "/a.json", "path": "x", "schema": {"type": 1}}]}, "is no JSON Schema"),
        ({"sources": [{"name": "a", "file": "/a.json", "path": "x", "schema": "s.json"}]}, "schema s.json must be"),
        (
            {"sources": [{"name": "a", "file": "/a.json", "path": "x", "header": "y"}]},
            "missing parameter(s) required by",
        ),
        ({"sources": [{"name": "a", "url": "https://a.test"}]}, "a url needs either header or path"),
        ({"sources": [{**URL, "path": "x"}]}, "a url needs either header or path"),
        ({"sources": [{**URL, "url": "a.test"}]}, "source a: url is no URL"),
        ({"sources": [{**URL, "url": ""}]}, "source a: url is no URL"),
        ({"sources": [{**URL, "headers": {"Cookie": "x"}}]}, "must not hold Cookie"),
        ({"sources": [{**URL, "url": "http://a.test/", "api_key": KEY}]}, "over plain HTTP"),
        ({"sources": [{**URL, "api_key": KEY, "login": LOGIN}]}, "mutually exclusive"),
        ({"sources": [{**URL, "login": {**LOGIN, "form_url": "https://a.test/"}}]}, "mutually exclusive"),
        ({"sources": [{**URL, "login": {"user": "u", "password": PASSWORD}}]}, "one of the following is required"),
        (
            {"sources": [{**URL, "login": {"user": "u", "password": PASSWORD, "form_url": "https://b.test/"}}]},
            "log in where the API is",
        ),
        ({"sources": [URL], "ca_path": "/nowhere/ca.pem"}, "cannot be read from /nowhere/ca.pem"),
        ({"sources": [URL], "ca_content": "x"}, "cannot be read from ca_content"),
        ({"schemas": [{"schema": {}, "files": ["a.json"]}]}, "files a.json must be an absolute path"),
        ({"schemas": [{"schema": {}, "files": ["/a/*"]}]}, "must end in .json"),
        ({"schemas": [{"schema": "/nowhere.json", "files": ["/a.json"]}]}, "there is no such file"),
        ({"schemas": [{"schema": {}, "files": ["/a.json"]}], "schema_directory": "/nowhere"}, "is no directory"),
        ({"schemas": [{"schema": {}, "files": ["/a.json"]}], "schema_directory": "x"}, "must be an absolute path"),
    ],
)
def test_bad_options_are_refused_before_anything_is_read(run, monkeypatch, arguments, message):
    monkeypatch.setattr(api_contract_info.Reader, "read", lambda *_arguments: pytest.fail("it read a source"))
    result = run(**arguments)
    assert result["failed"]
    assert message in result["msg"]


def test_a_secret_may_go_over_plain_http_where_that_is_allowed(run, api):
    with serve(api.site) as port:
        source = {**api.sources[3], "url": f"http://127.0.0.1:{port}/cards"}
        assert run(sources=[source], allow_plain_http=True)["version"] == "1.0.0"


def test_a_name_is_looked_up_whatever_its_case(run, api):
    url = f"https://API.example.test:{api.port}/health"
    options = {**api.options, "addresses": {"Api.Example.Test": "127.0.0.1"}}
    assert run(sources=[{"name": "a", "url": url, "path": "data.body"}], **options)["version"] == "1.0.0"


def test_an_untrusted_certificate_leads_to_the_options(run, api):
    options = {key: value for key, value in api.options.items() if key != "ca_path"}
    detail = run(sources=api.sources[:1], **options)["sources"]["header"]["detail"]
    assert "certificate" in detail
    assert detail.endswith(": name the authority that signed the certificate with ca_path or ca_content")


def test_without_validation_any_certificate_will_do(run, api):
    options = {**api.options, "validate_certs": False}
    del options["ca_path"]
    assert run(sources=api.sources[:1], **options)["in_agreement"] is True
