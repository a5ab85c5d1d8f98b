"""Which client actions scripts register, in every way in which people write it."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.javascript import tokenize
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_client_actions import find_registrations, is_candidate
from hypothesis import given, settings
from hypothesis import strategies as st

ADD = 'registry.category("actions")'


def find(text, **others):
    scripts = {"/m/static/src/x.js": text, **{f"/m/static/src/{name}.js": other for name, other in others.items()}}
    return find_registrations({url: script.encode() for url, script in scripts.items()})


def tags(text, **others):
    found = find(text, **others)
    assert not found.unclear
    return set(found.tags)


@pytest.mark.parametrize(
    "text",
    [
        'registry.category("actions").add("t", T);',
        "registry.category('actions').add('t', T)",
        "registry.category(`actions`).add(`t`, T)",
        'registry\n    .category("actions")\n    .add(\n        "t",\n        T\n    );',
        'registry /* a */ . /* b */ category /* c */ ( /* d */ "actions" ) // e\n . add ( /* f */ "t" , T )',
        'r.category("actions").add("t",function(e,n){return e/n/2},{force:!0}),r.category("x").add("no",1)',
        'webRegistry?.category?.("actions")?.add?.("t", T)',
        'core.registry.category("actions").add("t", T)',
        'getRegistry().category("actions").add("t", T)',
        'const { category } = registry; category("actions").add("t", T)',
        'const actions = registry.category("actions"); actions.add("t", T)',
        'let a = 1, actions = registry.category("actions");\nactions\n  .add("t", T)',
        'let actions;\nactions = registry.category("actions");\nactions.add("t", T)',
        'class A { setup() { this.actions = registry.category("actions"); this.actions.add("t", T); } }',
        'const a = registry.category("actions"); const b = a; b.add("t", T)',
        'const TAG = "t"; registry.category("actions").add(TAG, T)',
        'export const TAG = "t";\nregistry.category("actions").add(TAG, T)',
        'const TAG = ("t"); registry.category("actions").add((TAG), T)',
        'const M = "t", T2 = 1; registry.category("actions").add(M, T)',
        'let TAG\nTAG = "t"\nregistry.category("actions").add(TAG, T)',
        'const P = ""; const TAG = P + "t"; registry.category("actions").add(TAG, T)',
        'const P = "t"; registry.category("actions").add(`${P}`, T)',
        'const TAGS = { board: "t", other: 1 }; registry.category("actions").add(TAGS.board, T)',
        'const TAGS = Object.freeze({ a: { "b": "t" } }); registry.category("actions").add(TAGS.a.b, T)',
        (
            'class Board extends Component { static props = ["*"]; static tag = "t"; }\n'
            'registry.category("actions").add(Board.tag, Board)'
        ),
        'Board.tag = "t"; registry.category("actions").add(Board.tag, Board)',
        'const KIND = "actions"; registry.category(KIND).add("t", T)',
        'function put(tag, T) { registry.category("actions").add(tag, T); }\nput("t", T)',
        'const put = (tag) => registry.category("actions").add(tag, T);\nput("t")',
        'const put = tag => { registry.category("actions").add(tag, T); };\nput("t")',
        'const put = async function (T, tag) { registry.category("actions").add(tag, T); };\nput(T, "t")',
        'class A { put(tag) { registry.category("actions").add(tag, T); } go() { this.put("t"); } }',
        'function put(tag) { registry.category("actions").add(tag, T); } function twice(n) { put(n); } twice("t")',
        'function actions() { return registry.category("actions"); }\nactions().add("t", T)',
        'const actions = () => registry.category("actions");\nactions().add("t", T)',
        (
            'odoo.define("m.x", ["@web/core/registry"], function (require) {\n'
            '    const { registry } = require("@web/core/registry");\n    registry.category("actions").add("t", T);\n'
            "});"
        ),
        'const re = /["\'`]/g; registry.category("actions").add("t", T); const u = "a/*";',
        'const x = `${registry.name} "`; registry.category("actions").add("t", T) // "',
    ],
)
def test_every_way_of_registering_is_found(text):
    assert "t" in tags(text)


def test_a_chain_registers_all_its_links():
    text = f'{ADD}.add("a", A).add("b", () => {{ return f("no"); }}).add("c", C, {{ force: true }});'
    assert tags(text) == {"a", "b", "c"}
    assert tags(f'const r = {ADD}.add("a", A);\nr.add("b", B)') == {"a", "b"}


@pytest.mark.parametrize(
    "text",
    [
        '// registry.category("actions").add("t", T)',
        '/*\nregistry.category("actions").add("t", T)\n*/',
        '/** @example registry.category("actions").add("t", T) */ f()',
        'const help = \'registry.category("actions").add("t", T)\';',
        'const help = `registry.category("actions").add("t", T)`;',
        'x = /registry.category("actions").add("t", T)/;',
        'registry.category("services").add("t", T)',
        'registry.category("services").add("actions", T)',
        'registry.category("actions").get("t")',
        'registry.category("actions").contains("t")',
        'registry.category("actions").remove("t")',
        'registry.category("actions").get("x").add("t", T)',
        'const actions = registry.category("actions"); actions.get("t")',
        'const services = registry.category("services"); services.add("t", T)',
        'class Registry { category(actions) { return this.add("t"); } }',
        'list.add("t")',
        "",
    ],
)
def test_what_only_looks_like_it_is_not_found(text):
    found = find(text)
    assert "t" not in found.tags
    assert "t" not in found.possible


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ('import { TAG } from "./tags"; ADD.add(TAG, T)', {"tags": 'export const TAG = "t";'}),
        ('import { TAG as NAME } from "./tags"; ADD.add(NAME, T)', {"tags": 'const A = "t"; export { A as TAG };'}),
        ('import { TAG } from "@m/tags"; ADD.add(TAG, T)', {"tags": 'export const TAG = "t";'}),
        ('import { TAG } from "@m/tags.js"; ADD.add(TAG, T)', {"tags": 'export const TAG = "t";'}),
        ('import TAG from "./tags"; ADD.add(TAG, T)', {"tags": 'export default "t";'}),
        ('import TAG from "./tags"; ADD.add(TAG, T)', {"tags": 'const A = "t"; export default A;'}),
        ('import * as tags from "./tags"; ADD.add(tags.TAG, T)', {"tags": 'export const TAG = "t";'}),
        ('import { TAGS } from "./tags"; ADD.add(TAGS.board, T)', {"tags": 'export const TAGS = { board: "t" };'}),
        ('import { Board } from "./tags"; ADD.add(Board.tag, T)', {"tags": 'export class Board { static tag = "t"; }'}),
        (
            'import { TAG } from "./all"; ADD.add(TAG, T)',
            {"all": 'export * from "./tags";', "tags": 'export let TAG = "t"'},
        ),
        (
            'import { TAG } from "./all"; ADD.add(TAG, T)',
            {"all": 'export { A as TAG } from "./tags";', "tags": 'export const A = "t";'},
        ),
        (
            'import { all } from "./all"; ADD.add(all.TAG, T)',
            {"all": 'export * as all from "./tags";', "tags": 'export const TAG = "t";'},
        ),
        ('const { TAG } = require("@m/tags"); ADD.add(TAG, T)', {"tags": 'export const TAG = "t";'}),
        ('const tags = require("@m/tags"); ADD.add(tags.TAG, T)', {"tags": 'export const TAG = "t";'}),
        ('const N = require("@m/tags").TAG; ADD.add(N, T)', {"tags": 'export const TAG = "t";'}),
        ('import { actions } from "./r"; actions.add("t", T)', {"r": "export const actions = ADD;"}),
        ('import { actions as a } from "./r"; a.add("t", T)', {"r": "const r = ADD; export { r as actions };"}),
        ('import r from "./r"; r.add("t", T)', {"r": "export default ADD;"}),
        ('import { put } from "./r"; put("t", T)', {"r": "export function put(tag, T) { ADD.add(tag, T); }"}),
        ('import { put } from "./r"; put("t", T)', {"r": "export const put = (tag, T) => ADD.add(tag, T);"}),
        ('import * as r from "./r"; r.put("t", T)', {"r": "export function put(tag, T) { ADD.add(tag, T); }"}),
        ('import { actions } from "./r"; actions().add("t", T)', {"r": "export const actions = () => ADD;"}),
        ('import { TAG } from "./dir"; ADD.add(TAG, T)', {"dir/index": 'export const TAG = "t";'}),
        ('import { KIND } from "./k"; registry.category(KIND).add("t", T)', {"k": 'export const KIND = "actions";'}),
    ],
)
def test_names_are_followed_into_other_files(text, others):
    others = {name: other.replace("ADD", ADD) for name, other in others.items()}
    assert "t" in tags(text.replace("ADD", ADD), **others)


def test_a_constant_may_lie_in_a_file_that_is_in_no_bundle():
    scripts = {"/m/static/src/x.js": f'import {{ TAG }} from "@other/tags"; {ADD}.add(TAG, T)'.encode()}
    others = {"/other/static/src/tags.js": b'export const TAG = "t";'}
    assert "t" in find_registrations(scripts, read=others.get).tags


@pytest.mark.parametrize(
    "text",
    [
        'for (const tag of ["t", "u"]) { registry.category("actions").add(tag, T); }',
        '["t", "u"].forEach((tag) => registry.category("actions").add(tag, T))',
        'const all = { t: T, u: U }; Object.keys(all).forEach((tag) => registry.category("actions").add(tag, T))',
        'registry.category("actions").add(compute("t"), T)',
        'const TAG = odd ? "t" : "u"; registry.category("actions").add(TAG, T)',
        'registerAll(registry.category("actions"), "t")',
        'import { TAG } from "@nowhere/tags"; registry.category("actions").add(TAG, "t")',
    ],
)
def test_where_a_tag_stays_unknown_every_text_is_possible(text):
    found = find(text)
    assert "t" in found.possible
    assert found.unclear == ("/m/static/src/x.js:1",)


def test_a_circle_of_imports_ends():
    a = 'import { TAG } from "./b"; export { TAG }; ' + f"{ADD}.add(TAG, T)"
    assert find('import "./a"', a=a, b='export { TAG } from "./a";').unclear == ("/m/static/src/a.js:1",)
    assert find(f"const A = B; const B = A; {ADD}.add(A, T)").unclear


def test_where_a_tag_is_registered():
    found = find(f'{ADD}.add("t", T)', y=f'{ADD}.add("t", T, {{ force: true }})')
    assert found.tags == {"t": ("/m/static/src/x.js", "/m/static/src/y.js")}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'registry.category("actions")', True),
        (b"registry.category /* x */ (\n // y\n 'actions')", True),
        (b"registry.category(KIND)", True),
        (b'registry.category("services")', False),
        (b"my_category_actions", False),
        (b"", False),
    ],
)
def test_only_few_scripts_need_a_closer_look(data, expected):
    assert is_candidate(data) is expected


FILLER = st.sampled_from([" ", "\n", " /* it's */", ' // "no\n', "\t/**/\n"])
SUBJECT = (
    'const TAG="t";registry.category("actions").add(TAG,()=>{return a/b}).add(`u`,B);'
    'const r=registry.category("actions");r.add("v",C)'
)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_comments_and_white_space_change_nothing(data):
    ends = [*[token.position for token in tokenize(SUBJECT)][1:], len(SUBJECT)]
    text, start = "", 0
    for end in ends:
        text += SUBJECT[start:end] + data.draw(FILLER)
        start = end
    assert tags(text) == {"t", "u", "v"}


@given(
    st.lists(
        st.sampled_from(
            [
                *("registry", ".category", '("actions")', ".add", "(", ")", '"t"', ",", "{", "}", "[", "]", "import "),
                *("export ", "*", "from", '"./x"', "const ", "x", "=", "=>", "default ", "class ", "static "),
                *("function ", "return ", "`", "${", "+"),
            ]
        ),
        max_size=30,
    ).map("".join)
)
@settings(max_examples=150, deadline=None)
def test_no_script_makes_it_fail(text):
    find(text, y=text)
