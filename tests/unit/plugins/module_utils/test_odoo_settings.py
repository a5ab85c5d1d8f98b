"""System parameters and mail servers: what differs, what is refused, what is hidden."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_settings import (
    decide_mail_servers,
    decide_parameters,
    mail_values,
    parameter_text,
)
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.one_of(st.booleans(), st.integers(), st.text(min_size=1))


def test_parameters_that_are_as_wanted_are_left_alone():
    plan = decide_parameters({"a": "1", "b": "True"}, wanted={"a": 1, "b": True}, absent=["c"])
    assert not plan.changed
    assert plan.diff() == {"before": {}, "after": {}}


def test_parameters_that_differ():
    plan = decide_parameters({"a": "1", "gone": "x", "kept": "y"}, wanted={"a": "2", "new": False}, absent=["gone"])
    assert plan.write == {"a": "2", "new": "False"}
    assert plan.remove == ("gone",)
    assert plan.diff() == {"before": {"a": "1", "gone": "x"}, "after": {"a": "2", "new": "False"}}


@pytest.mark.parametrize(
    "name",
    [
        "database.secret",
        "mail.token",
        "x_password",
        "some.api_key",
        "ocr.key",
        "auth.private.pem",
        "iap.apikey",
    ],
)
def test_names_that_sound_secret_hide_their_value(name):
    plan = decide_parameters({name: "old-value"}, wanted={name: "new-value"})
    assert plan.changed
    assert plan.diff() == {"before": {name: "(old value hidden)"}, "after": {name: "(new value hidden)"}}
    assert plan.secret_values() == ["new-value"]


def test_secret_parameters_hide_theirs_whatever_the_name():
    plan = decide_parameters({}, wanted={"shown": "1"}, secret={"quiet": "hush"})
    assert plan.diff()["after"] == {"quiet": "(new value hidden)", "shown": "1"}
    assert plan.secret_values() == ["hush"]


@pytest.mark.parametrize("name", ["web.base.url", "keyboard", "monkey", "turkey.name"])
def test_other_names_show_theirs(name):
    assert "https://x" in str(decide_parameters({}, wanted={name: "https://x"}).diff())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"wanted": {"a": 1}, "absent": ["a"]}, "more than one option: a"),
        ({"wanted": {"a": 1}, "secret": {"a": 1}}, "more than one option: a"),
        ({"wanted": {"a": None}}, "Parameter 'a' needs a text"),
        ({"wanted": {"a": ""}}, "Parameter 'a' must not be empty; list it in `absent` to remove it"),
        ({"wanted": {}, "secret": {"a": ""}}, "Parameter 'a' must not be empty"),
        ({"wanted": {"a": [1]}}, "Parameter 'a' needs a text"),
        (
            {"wanted": {}, "absent": ["database.uuid"]},
            "does not let these parameters be removed: database.uuid",
        ),
        ({"wanted": {"web.base.url": "odoo.example.com"}}, "must be like https://odoo.example.com"),
        ({"wanted": {"web.base.url": "https://x/odoo"}}, "without a path"),
        ({"wanted": {"web.base.url": "https://x/"}}, "without a path"),
    ],
)
def test_bad_parameters(options, words):
    with pytest.raises(SlipwayError, match=words):
        decide_parameters({}, **options)


@given(st.dictionaries(st.sampled_from("abcdef"), VALUES), st.dictionaries(st.sampled_from("abcdef"), st.text()))
def test_a_carried_out_plan_leaves_nothing_to_do(wanted, current):
    plan = decide_parameters(current, wanted=wanted)
    after = {key: value for key, value in {**current, **plan.write}.items() if key not in plan.remove}
    assert not decide_parameters(after, wanted=wanted).changed
    assert all(after[key] == parameter_text(key, value) for key, value in wanted.items())


def server(name="relay", **options):
    return {
        "name": name,
        "host": "mail.example.com",
        "encryption": "starttls_strict",
        "port": None,
        "user": None,
        "password": None,
        "from_filter": None,
        "sequence": 10,
        "debug": False,
        **options,
    }


def record(name="relay", **fields):
    return {
        "id": 7,
        "name": name,
        "active": True,
        "smtp_host": "mail.example.com",
        "smtp_port": 587,
        "smtp_encryption": "starttls_strict",
        "smtp_authentication": "login",
        "smtp_user": None,
        "smtp_pass": None,
        "from_filter": None,
        "sequence": 10,
        "smtp_debug": None,
        **fields,
    }


def decide(records, *servers, purge=False, **options):
    return decide_mail_servers(records, servers=servers, purge=purge, **options)


def test_a_server_as_wanted_is_left_alone():
    assert not decide([record()], server()).changed
    assert not decide([record(smtp_user="x", smtp_pass="y")], server()).changed
    assert not decide([record(smtp_user="x", smtp_pass="y")], server(user="x", password="y")).changed


def test_a_new_server_shows_no_password():
    plan = decide([], server(user="odoo", password="smtp-secret"))
    assert plan.payload()["create"] == [
        {
            "name": "relay",
            "active": True,
            "smtp_authentication": "login",
            "smtp_port": 587,
            "smtp_host": "mail.example.com",
            "smtp_encryption": "starttls_strict",
            "smtp_user": "odoo",
            "smtp_pass": "smtp-secret",
            "sequence": 10,
            "smtp_debug": False,
        }
    ]
    assert "smtp-secret" not in str(plan.diff())
    assert plan.diff()["after"]["relay"]["smtp_pass"] == "(new value hidden)"


def test_only_what_differs_is_written_and_shown():
    plan = decide(
        [record(smtp_user="odoo", smtp_pass="old-secret")],
        server(user="odoo", password="new-secret", sequence=5),
    )
    assert plan.change == {7: {"smtp_pass": "new-secret", "sequence": 5}}
    assert plan.diff() == {
        "before": {"relay": {"smtp_pass": "(old value hidden)", "sequence": 10}},
        "after": {"relay": {"smtp_pass": "(new value hidden)", "sequence": 5}},
    }
    assert plan.updated == ("relay",)


def test_an_archived_server_is_taken_up_again_and_another_login_method_is_put_right():
    plan = decide([record(active=False, smtp_authentication="cli")], server())
    assert plan.change == {7: {"active": True, "smtp_authentication": "login"}}


def test_purge_archives_the_others_but_not_personal_or_archived_ones():
    records = [
        record(),
        record("old", id=8),
        record("mine", id=9, owner_user_id=2),
        record("gone", id=10, active=False),
    ]
    plan = decide(records, server(), purge=True)
    assert plan.archive == (8,)
    assert plan.archived == ("old",)
    assert not decide(records, server()).changed


@pytest.mark.parametrize(
    ("encryption", "port"),
    [("none", 25), ("starttls", 587), ("starttls_strict", 587), ("ssl", 465), ("ssl_strict", 465)],
)
def test_ports_follow_the_encryption(encryption, port):
    assert mail_values(server(encryption=encryption))["smtp_port"] == port
    assert mail_values(server(encryption=encryption, port=2525))["smtp_port"] == 2525


@pytest.mark.parametrize(
    ("records", "servers", "options", "words"),
    [
        ([], [server(), server()], {}, "listed twice: relay"),
        ([record(), record(id=8)], [server()], {}, "There are 2 mail servers named 'relay'"),
        ([], [server(port=70000)], {}, "70000 is no port"),
        ([], [server(port=-1)], {}, "-1 is no port"),
        ([], [server(password="x")], {}, "has a password but no user"),
        ([], [server()], {"encryptions": ["none", "ssl", "starttls"]}, "but none, ssl, starttls"),
    ],
)
def test_bad_servers(records, servers, options, words):
    with pytest.raises(SlipwayError, match=words):
        decide(records, *servers, **options)


def test_one_active_server_among_archived_namesakes_is_the_one():
    assert not decide([record(id=8, active=False), record()], server()).changed
