#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell whether all parties to an API contract are at the same version."""

from __future__ import annotations

DOCUMENTATION = r"""
module: api_contract_info
short_description: Tell whether all parties to an API contract are at the same version
version_added: 0.1.0
description:
  - Reads the version of a contract from any number of sources and compares them with each other, or all
    of them with an expected version. Sources are constants in TypeScript, JavaScript and Python files,
    values in JSON, YAML and TOML files, manifests of Odoo modules, and headers and JSON bodies of HTTP
    answers.
  - Validates files and the bodies of answers against JSON Schemas.
  - Tells a source that was not reached from one that disagrees. A limit (429), a redirect, a gateway's
    502, any other status that is not of the 200s, a refused certificate, a name that does not resolve
    and a timeout all mean C(unreachable), whatever headers the answer has. An answer of the 200s
    without the header or value is C(missing).
  - Odoo reports errors of JSON-RPC with status 200. Such an answer is C(unreachable) too.
  - Files are read where the task runs. With C(delegate_to=localhost) these are the controller's.
  - All sources are read before it fails, and all faults are in one message.
  - No file is executed, no redirect is followed, and no schema is fetched from elsewhere.
options:
  sources:
    description:
      - Where the version stands. Each source has one of O(sources[].file), O(sources[].manifest) and
        O(sources[].url).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What to call the source in messages and results.
        type: str
        required: true
      file:
        description:
          - Absolute path of a file to read, with O(sources[].constant) or O(sources[].path). What it is
            is told by the end of its name.
        type: path
      constant:
        description:
          - Name of a constant at the top of a module in TypeScript or JavaScript (C(.ts), C(.tsx),
            C(.mts), C(.cts), C(.js), C(.jsx), C(.mjs), C(.cjs)), such as C(export const
            CONTRACT_VERSION = '1.0.0' as const;), or in Python (C(.py)), such as C(CONTRACT_VERSION =
            "1.0.0").
          - It must hold a plain text or a whole number. Comments do not count. A constant that is
            defined twice, computed, or assigned only under a condition holds no version.
        type: str
      path:
        description:
          - The keys that lead to the version in a document (C(.json), C(.yaml), C(.yml), C(.toml)) or
            in the JSON body of an answer, with dots between them, such as V(info.version).
          - In a list an entry is named by its number, from 0 (V(servers.0.version)). A dot in a key is
            written V(\\.), a backslash V(\\\\). A single V(.) stands for the whole document.
          - The value must be a text or a whole number. V(1.10) without quotes is the number 1.1.
        type: str
      manifest:
        description: Absolute path of an Odoo module or of its manifest, of which C(version) is read.
        type: path
      without_series:
        description: Leave Odoo's own version out of a manifest's, so that V(19.0.1.2.0) becomes V(1.2.0).
        type: bool
        default: false
      url:
        description:
          - URL to ask, with O(sources[].header) or O(sources[].path). It is a GET, or with
            O(sources[].body) a POST.
          - It is asked in check mode too, so it must be a question that changes nothing.
        type: str
      header:
        description: Name of the header of the answer that holds the version.
        type: str
      headers:
        description:
          - Headers to send, such as C(X-Odoo-Database). No secrets, for these O(sources[].api_key) and
            O(sources[].login) are kept out of logs.
        type: dict
        default: {}
      body:
        description:
          - What to send as JSON, such as the arguments of a method called by Odoo's JSON-2
            (C(/json/2/MODEL/METHOD)), or a call in JSON-RPC.
        type: dict
      api_key:
        description: Key to send in the header C(Authorization) as bearer, which Odoo's JSON-2 takes.
        type: str
      login:
        description:
          - Log in first, and send the cookies of that session. Sources with the same log-in share a
            session, and one of Odoo is ended afterwards.
        type: dict
        suboptions:
          user:
            description: Name of the user.
            type: str
            required: true
          password:
            description: Password of the user.
            type: str
            required: true
          database:
            description:
              - Database of an Odoo to log in to, through C(/web/session/authenticate) of the same origin.
            type: str
          form_url:
            description:
              - URL of the page with a log-in form, of the same origin, in place of
                O(sources[].login.database). It is filled in and posted to the same URL, with its hidden
                fields (a token against forged requests).
            type: str
          user_field:
            description: Name of the form's field for the user.
            type: str
            default: login
          password_field:
            description: Name of the form's field for the password.
            type: str
            default: password
      schema:
        description:
          - A JSON Schema that the document at O(sources[].path) or the body of the answer must satisfy,
            as the absolute path of a file or as the schema itself.
        type: raw
  expected:
    description:
      - The version that all sources must have, in quotes. Without it they must agree with each other.
    type: str
  reference:
    description:
      - Name of the source that the others are compared with, without O(expected). The first source when
        not given. When it has no version to offer, the next one that has stands in.
    type: str
  compare:
    description:
      - V(exact) compares the whole texts, with tags of pre-releases and builds. Any text without white
        space in it will do.
      - V(major) and V(minor) compare the first number or the first two of semantic versions. The rest,
        and a leading C(v), do not count. What has no such numbers is no version then.
      - Semantic versions below 1.0.0 may break with each minor number. Compare those by V(minor).
    type: str
    choices: [exact, major, minor]
    default: exact
  schemas:
    description: Files that must satisfy a JSON Schema, such as the fixtures of a frontend.
    type: list
    elements: dict
    default: []
    suboptions:
      schema:
        description: The JSON Schema, as the absolute path of a file or as the schema itself.
        type: raw
        required: true
      files:
        description:
          - Absolute paths of JSON, YAML or TOML files, in which V(*), V(?), V([a-z]) and V(**) stand for
            any that fit. One that fits no file is a fault.
        type: list
        elements: path
        required: true
  schema_directory:
    description:
      - The directory that references (C($ref)) from one schema to another may lead to, by relative path
        or by the C($id) of a schema in it. A schema file's own directory when not given.
    type: path
  schema_files:
    description:
      - What schema files hold, by their absolute path. With it no schema is read where the task runs, so that
        schemas on the controller can judge what answers another host. It must hold those that other options
        name, and those that these refer to.
    type: dict
  addresses:
    description:
      - Addresses to connect to, by the name in a URL, in place of what the name resolves to. The name
        itself is still what the server and its certificate are asked for.
    type: dict
    default: {}
  validate_certs:
    description: Whether certificates must be valid.
    type: bool
    default: true
  ca_path:
    description: File with the certificates of authorities to trust besides the system's.
    type: path
  ca_content:
    description: The same as text (PEM), in place of a file.
    type: str
  allow_plain_http:
    description: Whether keys and passwords may be sent to URLs that begin with C(http://).
    type: bool
    default: false
  timeout:
    description: Seconds for each request.
    type: float
    default: 30.0
  wait:
    description:
      - Seconds that all sources together may wait for one that is unreachable for a reason that may pass
        (no connection, no answer, 408, 425, 429, 502, 503, 504). It is asked again after 1, 2, 4 … seconds
        or as its C(Retry-After) says. One that asks for more than is left is not waited for.
      - V(0) asks once.
    type: float
    default: 10.0
  fail_on_drift:
    description:
      - Whether to fail when a version differs, is missing or is none, or when a schema is not satisfied.
        Otherwise only the result tells.
    type: bool
    default: true
  fail_on_unreachable:
    description: Whether to fail when a source was not reached. Otherwise only the result tells.
    type: bool
    default: true
requirements:
  - Python 3.9 or newer where the task runs
  - PyYAML (C(python3-yaml)) for YAML
  - tomli (C(python3-tomli)) for TOML with a Python before 3.11
  - jsonschema 4.0 or newer (C(python3-jsonschema)) for schemas
notes:
  - Values are not part of messages about schemas, only their kinds, for they may be personal. At most 20
    breaches are told of each document.
  - C(format) in a schema is a remark and is not checked, as JSON Schema has it.
  - A body of 16 MiB or more is not looked at.
seealso:
  - module: slipway.odoo.odoo_site_check
attributes:
  check_mode:
    description: Can run in check mode and returns what it does without it.
    support: full
    details: A log-in leaves an entry in Odoo's list of log-ins, in check mode too.
  diff_mode:
    description: Returns details on what has changed in diff mode.
    support: N/A
    details: It changes nothing.
  idempotent:
    description: Changes nothing when it runs again.
    support: full
author:
  - Slipway contributors (@slipway)
"""

EXAMPLES = r"""
- name: Read the frontend's contract on the controller
  slipway.odoo.api_contract_info:
    sources:
      - name: frontend
        file: "{{ playbook_dir }}/../types/api-contract.ts"
        constant: CONTRACT_VERSION
      - name: backend
        file: "{{ playbook_dir }}/../addons/taskboard_api/services/mapping.py"
        constant: CONTRACT_VERSION
      - name: addon
        manifest: "{{ playbook_dir }}/../addons/taskboard_api"
        without_series: true
      - name: specification
        file: "{{ playbook_dir }}/../openapi.yaml"
        path: info.version
    schemas:
      - schema: "{{ playbook_dir }}/../schemas/board.json"
        files: ["{{ playbook_dir }}/../fixtures/board*.json"]
  delegate_to: localhost
  run_once: true
  register: contract

- name: Hold the running site to the same version, asked by its name on its own edge
  slipway.odoo.api_contract_info:
    expected: "{{ contract.version }}"
    addresses:
      odoo.example.com: 127.0.0.1
    sources:
      - name: health
        url: https://odoo.example.com/api/v1/health
        path: contract_version
      - name: boards
        url: https://odoo.example.com/api/v1/boards
        header: x-contract-version
        login:
          database: main
          user: contract-check
          password: "{{ vault_contract_check_password }}"
        schema:
          type: array
          items: {type: object, required: [id, name]}
      - name: parameter
        url: https://odoo.example.com/json/2/ir.config_parameter/get_param
        body: {key: taskboard.contract_version}
        path: .
        api_key: "{{ vault_contract_check_key }}"

- name: Compare a staging site with production by major and minor number, without failing
  slipway.odoo.api_contract_info:
    compare: minor
    reference: production
    fail_on_drift: false
    fail_on_unreachable: false
    sources:
      - {name: staging, url: "https://staging.example.com/api/v1/health", header: x-contract-version}
      - {name: production, url: "https://odoo.example.com/api/v1/health", header: x-contract-version}
  delegate_to: localhost
  register: parity
"""

RETURN = r"""
version:
  description: The version that all sources were compared with. V(null) when none was expected and none found.
  returned: when the sources could be asked
  type: str
  sample: 1.0.0
in_agreement:
  description: Whether every source was read and is at this version, and all schemas are satisfied.
  returned: when the sources could be asked
  type: bool
assumed:
  description: Present and true when check mode could not look, because a Python library is missing that an earlier
    task installs.
  returned: in check mode, when it is too early
  type: bool
  sample: true
message:
  description: All faults, numbered, or what all agree on. When the module fails, it is C(msg).
  returned: success, unless RV(assumed)
  type: str
  sample: |-
    2 faults in the contract:
    1. frontend: has 1.1.0, 1.0.0 is expected (/srv/board/types/api-contract.ts:3)
    2. boards: not reached, which says nothing of its version: answers 429: it limits the rate
    (GET https://odoo.example.com/api/v1/boards, header x-contract-version)
sources:
  description: What each source holds, by its name.
  returned: when the sources could be asked
  type: dict
  contains:
    status:
      description:
        - V(found), V(mismatched) (a version, but another one), V(missing) (the source is there, the version
          is not), V(invalid) (what is there is no version, or cannot be parsed) or V(unreachable).
      type: str
    version:
      description: The version, or V(null).
      type: str
    where:
      description: File and line or path, or URL (without its query) and header or path.
      type: str
    detail:
      description: What is wrong. Empty when the version is found and agrees.
      type: str
  sample:
    frontend: {status: found, version: 1.0.0, where: "/srv/board/types/api-contract.ts:3", detail: ""}
drift:
  description: The sources that were reached and do not have this version.
  returned: when the sources could be asked
  type: list
  elements: dict
  contains:
    name:
      description: Name of the source.
      type: str
    status:
      description: V(mismatched), V(missing) or V(invalid).
      type: str
    version:
      description: The version that it has instead, or V(null).
      type: str
    where:
      description: As in RV(sources).
      type: str
    detail:
      description: What is wrong.
      type: str
not_reached:
  description: Names of the sources that are V(unreachable).
  returned: when the sources could be asked
  type: list
  elements: str
schema_errors:
  description: Where documents break their schemas.
  returned: when the sources could be asked
  type: list
  elements: dict
  contains:
    schema:
      description: The schema's file, or C((inline)).
      type: str
    where:
      description: The file, or the source as in RV(sources).
      type: str
    pointer:
      description:
        - Where in the document, as a JSON pointer. Empty for the whole document.
        - V(null) when there is no document, because no file fits or it cannot be parsed.
      type: str
      sample: /boards/0/id
    message:
      description: What is wrong, with kinds in place of values.
      type: str
      sample: a number is not of type 'string'
"""

import contextlib
import dataclasses
import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils import (
    api_contract,
    api_contract_files,
    api_contract_http,
)
from ansible_collections.slipway.odoo.plugins.module_utils.api_contract import Reading, SchemaError, Value
from ansible_collections.slipway.odoo.plugins.module_utils.api_contract_files import UnreadableError
from ansible_collections.slipway.odoo.plugins.module_utils.api_contract_http import Client, Question, Unreachable
from ansible_collections.slipway.odoo.plugins.module_utils.api_contract_schemas import Breaches, Schema
from ansible_collections.slipway.odoo.plugins.module_utils.api_contract_sources import (
    require_absolute,
    require_fitting,
    source_options,
    source_rules,
)
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.http_probe import tls_context
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_session import run_module


@dataclasses.dataclass(frozen=True)
class Source:
    """One source, found sound: its options, what to ask (a URL), the schema of its document."""

    options: Mapping[str, Any]
    question: Question | None
    schema: Schema | None

    @property
    def name(self) -> str:
        """What the source is called."""
        return str(self.options["name"])


def source_of(options: Mapping[str, Any], params: Mapping[str, Any]) -> Source:
    """Check a source's options before anything is read.

    :raises SlipwayError: they do not fit each other, or cannot work
    """
    try:
        require_fitting(options)
        question = question_of(options, plain_http=params["allow_plain_http"]) if options["url"] is not None else None
        return Source(options=options, question=question, schema=schema_of(options["schema"], params))
    except SlipwayError as error:
        raise type(error)(f"source {options['name']}: {error}") from error


def question_of(options: Mapping[str, Any], *, plain_http: bool) -> Question:
    """:raises SlipwayError: it cannot be asked, or not without telling a secret"""
    address, login = api_contract_http.address_of(options["url"]), options["login"]
    question = Question(
        address=address,
        headers=api_contract_http.require_headers(options["headers"]),
        body=options["body"],
        api_key=options["api_key"],
        login=login
        and api_contract_http.Login(
            user=login["user"],
            password=login["password"],
            database=login["database"] or "",
            form=api_contract_http.address_of(login["form_url"]) if login["form_url"] is not None else None,
            user_field=login["user_field"],
            password_field=login["password_field"],
        ),
    )
    api_contract_http.require_private(question, plain_http=plain_http)
    return question


def schema_of(given: Any, params: Mapping[str, Any]) -> Schema | None:
    """:raises SlipwayError: it is no schema"""
    if given is None:
        return None
    if isinstance(given, str):
        require_absolute(given, "schema")
    return Schema(given, directory=params["schema_directory"], files=params["schema_files"])


class Reader:
    """Reads sources, and validates their documents by the way."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.breaches: list[Breaches] = []

    def read(self, source: Source) -> Reading:
        """Read one source, of whatever kind."""
        options = source.options
        try:
            if source.question:
                return self.from_url(source, source.question)
            if options["manifest"] is not None:
                return self.from_manifest(source)
            if options["constant"] is not None:
                return self.from_constant(source)
            return self.from_document(source)
        except UnreadableError as error:
            return reading(source, error.value, where=place_of(source))

    def from_url(self, source: Source, question: Question) -> Reading:
        """:raises UnreadableError: the body is no JSON, and the version should be in it"""
        answer, where = self.client.ask(question), place_of(source)
        if isinstance(answer, Unreachable):
            return reading(source, Value(api_contract.UNREACHABLE, detail=answer.reason), where=where)
        if source.options["path"] is not None:
            content = api_contract_http.json_body(answer)
            self.validate(source, content, where=where)
            return reading(source, api_contract_files.value_at(content, path=source.options["path"]), where=where)
        if source.schema:
            try:
                self.validate(source, api_contract_http.json_body(answer), where=where)
            except UnreadableError as error:
                self.breaches.append(breach(source.schema, where=where, message=str(error)))
        return reading(source, api_contract_http.header_version(answer, name=source.options["header"]), where=where)

    def from_manifest(self, source: Source) -> Reading:
        """:raises UnreadableError: the manifest cannot be read"""
        content = api_contract_files.read_file(api_contract_files.manifest_file(source.options["manifest"]))
        value = api_contract_files.manifest_version(content, without_series=source.options["without_series"])
        return reading(source, value, where=place_of(source))

    def from_constant(self, source: Source) -> Reading:
        """:raises UnreadableError: the file cannot be read"""
        file = source.options["file"]
        content = api_contract_files.read_file(file)
        value, line = api_contract_files.constant(content, path=file, name=source.options["constant"])
        return reading(source, value, where=f"{file}:{line}" if line else file)

    def from_document(self, source: Source) -> Reading:
        """:raises UnreadableError: the document cannot be read or parsed"""
        file, path = source.options["file"], source.options["path"]
        content = api_contract_files.document(api_contract_files.read_file(file), path=file)
        self.validate(source, content, where=file)
        return reading(source, api_contract_files.value_at(content, path=path), where=place_of(source))

    def validate(self, source: Source, content: Any, *, where: str) -> None:
        """Hold a source's document to its schema, if it has one."""
        if source.schema:
            self.breaches.append(source.schema.breaches(content, where=where))

    def validate_files(self, schema: Schema, patterns: Sequence[str]) -> None:
        """Hold all files that fit the patterns to a schema."""
        for pattern in patterns:
            files = sorted(path for path in glob.iglob(pattern, recursive=True) if os.path.isfile(path))
            if not files:
                self.breaches.append(breach(schema, where=pattern, message=_no_file(pattern)))
            for file in files:
                try:
                    content = api_contract_files.document(api_contract_files.read_file(file), path=file)
                    self.breaches.append(schema.breaches(content, where=file))
                except UnreadableError as error:
                    self.breaches.append(breach(schema, where=file, message=str(error)))


def place_of(source: Source) -> str:
    """Where a source's version stands, for people."""
    options, question = source.options, source.question
    if question:
        method = "GET" if question.body is None else "POST"
        part = f"header {options['header']}" if options["header"] is not None else f"path {options['path']}"
        return f"{method} {question.address.shown}, {part}"
    if options["manifest"] is not None:
        return api_contract_files.manifest_file(options["manifest"])
    return f"{options['file']}, path {options['path']}" if options["path"] is not None else str(options["file"])


def reading(source: Source, value: Value, *, where: str) -> Reading:
    return Reading(name=source.name, status=value.status, where=where, version=value.version, detail=value.detail)


def breach(schema: Schema, *, where: str, message: str) -> Breaches:
    """What cannot be held to a schema, for there is no document."""
    return Breaches(errors=(SchemaError(schema=schema.name, where=where, pointer=None, message=message),))


def _no_file(pattern: str) -> str:
    fault = "no file fits this pattern" if glob.has_magic(pattern) else "there is no such file"
    return f"{fault}, so none is validated"


def require_sound(params: Mapping[str, Any]) -> None:
    """:raises SlipwayError: options contradict each other, or ask for nothing"""
    names = [options["name"] for options in params["sources"]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SlipwayError(f"several sources are called {', '.join(twice)}: each needs its own name")
    if not names and not params["schemas"]:
        raise SlipwayError("there is nothing to look at: name sources, schemas, or both")
    if params["reference"] is not None and params["reference"] not in names:
        raise SlipwayError(f"reference {params['reference']} is none of the sources {', '.join(names)}")
    api_contract.require_comparable(params["expected"], compare=params["compare"])
    require_absolute(params["schema_directory"], "schema_directory")
    for path in params["schema_files"] or ():
        require_absolute(path, "schema_files")
    directory = params["schema_directory"] if params["schema_files"] is None else None
    if directory is not None and not os.path.isdir(directory):
        raise SlipwayError(f"schema_directory {params['schema_directory']} is no directory")
    for entry in params["schemas"]:
        for pattern in entry["files"]:
            require_absolute(pattern, "files")
            if not api_contract_files.is_document(pattern):
                raise SlipwayError(f"files {pattern} must end in .json, .yaml, .yml or .toml")


@contextlib.contextmanager
def open_client(params: Mapping[str, Any]) -> Iterator[Client]:
    """Give a client, and end its sessions afterwards.

    :raises SlipwayError: the authorities to trust cannot be read
    """
    try:
        context = tls_context(
            verify=params["validate_certs"], ca_path=params["ca_path"], ca_content=params["ca_content"]
        )
    except OSError as error:
        origin = params["ca_path"] or "ca_content"
        raise SlipwayError(f"the authorities to trust cannot be read from {origin}: {error}") from error
    addresses = {str(name).lower(): str(address) for name, address in params["addresses"].items()}
    settings = api_contract_http.Settings(
        addresses=addresses, context=context, timeout=params["timeout"], wait=params["wait"]
    )
    with contextlib.closing(Client(settings)) as client:
        yield client


def result_of(judgement: api_contract.Judgement) -> dict[str, Any]:
    """What the module returns, but for the message."""
    return {
        "version": judgement.version,
        "in_agreement": judgement.in_agreement,
        "sources": {
            entry.name: {key: value for key, value in dataclasses.asdict(entry).items() if key != "name"}
            for entry in judgement.readings
        },
        "drift": [dataclasses.asdict(entry) for entry in judgement.drift],
        # Ansible takes a result with the key `unreachable` for that of a host it could not log in to.
        "not_reached": [entry.name for entry in judgement.unreachable],
        "schema_errors": [dataclasses.asdict(error) for error in judgement.schema_errors],
    }


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read all, then judge."""
    params = module.params
    require_sound(params)
    sources = [source_of(options, params) for options in params["sources"]]
    schemas = [(schema_of(entry["schema"], params), entry["files"]) for entry in params["schemas"]]
    with open_client(params) as client:
        reader = Reader(client)
        readings = [reader.read(source) for source in sources]
        for schema, patterns in schemas:
            reader.validate_files(schema, patterns)
    judgement = api_contract.judge(
        readings,
        expected=params["expected"],
        reference=params["reference"],
        compare=params["compare"],
        schema_errors=[error for breaches in reader.breaches for error in breaches.errors],
        more_schema_errors=any(breaches.more for breaches in reader.breaches),
    )
    result, message = result_of(judgement), api_contract.report(judgement)
    drifted = judgement.drift or judgement.schema_errors
    if (params["fail_on_drift"] and drifted) or (params["fail_on_unreachable"] and judgement.unreachable):
        raise SlipwayError(message, **result)
    return {"changed": False, "message": message, **result}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "sources": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": source_options(),
                **source_rules(),
            },
            "expected": {"type": "str"},
            "reference": {"type": "str"},
            "compare": {"type": "str", "choices": ["exact", "major", "minor"], "default": "exact"},
            "schemas": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "schema": {"type": "raw", "required": True},
                    "files": {"type": "list", "elements": "path", "required": True},
                },
            },
            "schema_directory": {"type": "path"},
            "schema_files": {"type": "dict"},
            "addresses": {"type": "dict", "default": {}},
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
            "ca_content": {"type": "str"},
            "allow_plain_http": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 30.0},
            "wait": {"type": "float", "default": 10.0},
            "fail_on_drift": {"type": "bool", "default": True},
            "fail_on_unreachable": {"type": "bool", "default": True},
        },
        mutually_exclusive=[("ca_path", "ca_content"), ("expected", "reference")],
        supports_check_mode=True,
    )
    run_module(module, work, intent="compare the versions of a contract", changes=False)


if __name__ == "__main__":
    main()
