"""Rules of an import: which member becomes part of which asset, and what the asset says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ama.catalog.documents import Value
from ama.errors import Hint, InvalidInput
from ama.importing.rules import Planned, in_order, load_rules, name_groups, parse_time, plan

STORY = """
name = "(?P<run>.+)-(?P<day>[0-9]{8})"

[[assets]]
class = "sequence_models"
alias = "{run}"
author = "{meta.yml:author}"
created_at = "{meta.yml:training_date}"
message = "{run} of {day}, from {source}"
metadata = {layers = "{model.yml:layers}", kept = true, none = "{meta.yml:none}", day = "{day}"}
refs = {nlp_embeddings = "inputs"}

[[assets]]
class = "nlp_embeddings"
members = ["git_commit_info*.yml", "training.yml"]
"""
MEMBERS = dict.fromkeys(
    ["out/model.h5", "out/meta.yml", "out/training.yml", "git_commit_info1.yml"], 7
)
VALUES: dict[tuple[str, str], Value] = {
    ("out/meta.yml", "training_date"): "2026-11-02",
    ("out/meta.yml", "author"): "Ann Lee <ann@example.org>",
    ("out/model.yml", "layers"): 3,
}


def planned(
    text: str, members: dict[str, int] = MEMBERS, name: str = "base-20261102"
) -> list[Planned]:
    rules = load_rules(text)
    groups = name_groups(rules, name)
    assert groups is not None
    facts = groups | {"source": "gs://models/x.zip"}
    return plan(rules, members, facts, lambda member, key: VALUES.get((member, key)))


def test_one_source_becomes_two_linked_assets() -> None:
    members = MEMBERS | {"out/model.yml": 9}
    model, inputs = planned(STORY, members)
    assert list(inputs.members) == ["out/training.yml", "git_commit_info1.yml"]
    assert list(model.members) == ["out/model.h5", "out/meta.yml", "out/model.yml"]
    assert (model.class_name, inputs.class_name) == ("sequence_models", "nlp_embeddings")
    assert model.refs == {1: "inputs"}
    assert list(in_order([model.refs, inputs.refs])) == [1, 0]
    assert (model.alias, inputs.alias) == ("base", None)
    assert model.author == "Ann Lee <ann@example.org>"
    assert model.created_at == datetime(2026, 11, 2, tzinfo=UTC)
    assert model.message == "base of 20261102, from gs://models/x.zip"
    assert model.metadata == {"layers": 3, "kept": True, "day": "20261102"}


def test_what_has_no_member_is_not_made() -> None:
    (model,) = planned(STORY, {"model.h5": 1})
    assert model.refs == {}
    assert (model.author, model.created_at, model.metadata["kept"]) == (None, None, True)


def test_without_rules_on_the_name_all_fits() -> None:
    rules = load_rules('[[assets]]\nclass = "models"\nalias = "{name}"')
    assert name_groups(rules, "any thing") == {"name": "any thing"}
    assert plan(rules, {"a": 1}, {"name": "any thing!"}, lambda *_: None)[0].alias == "any-thing"
    assert name_groups(load_rules(STORY), "base") is None


def test_a_common_directory_is_left_out_on_demand() -> None:
    text = '[[assets]]\nclass = "models"\nstrip = true'
    assert planned(text, {"out/a": 1, "out/b/c": 1})[0].members == {"a": "out/a", "b/c": "out/b/c"}
    assert planned(text, {"out/a": 1, "b": 1})[0].members == {"out/a": "out/a", "b": "b"}
    assert planned(text, {"out/x/a": 1})[0].members == {"a": "out/x/a"}


WRONG = {
    "what": "no TOML",
    "": r"no \[\[assets\]\]",
    'assets = "x"': r"no \[\[assets\]\]",
    "[[assets]]": "assets 1 of the rules names no class",
    '[[assets]]\nclass = "a/b"': "can't be a class|can't name|class",
    '[[assets]]\nclass = "m"\nalais = "x"': "alais of assets 1 of the rules is no key",
    '[[assets]]\nclass = "m"\nmembers = "x"': "no list of globs",
    '[[assets]]\nclass = "m"\nmetadata = {a = [1]}': "metadata a",
    '[[assets]]\nclass = "m"\nrefs = {n = "x"}': "name n, which no",
    '[[assets]]\nclass = "m"\n[[assets]]\nclass = "m"': "are of the class m",
    '[[assets]]\nclass = "m"\n[[assets]]\nclass = "n"': "take the rest: m, n",
    '[[assets]]\nclass = "m"\nrefs = {m = "x"}': "circle: m",
    'name = "("\n[[assets]]\nclass = "m"': "no regular expression",
    'nam = "x"\n[[assets]]\nclass = "m"': "nam of the rules is no key",
    '[[assets]]\nclass = "m"\nalias = "{name"': "assets 1: alias has a brace too many: {name",
    '[[assets]]\nclass = "m"\nmessage = "{{name}}"': "assets 1: message has a brace too many",
    '[[assets]]\nclass = "m"\nmetadata = {a = "name}"}': "assets 1: metadata a has a brace too",
    '[[assets]]\nclass = "m"\nalias = "{rum}"': r"assets 1: alias asks for \{rum\}, which",
    '[[assets]]\nclass = "m"\nmessage = "{model.yml}"': r"asks for \{model.yml\}, which",
    '[[assets]]\nclass = "m"\ncreated_at = "then"': "assets 1: created_at: then is no time",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_rule_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match=WRONG[text]):
        load_rules(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('[[assets]]\nclass = "m"\nmesage = "x"', Hint("did-you-mean", names=("message",))),
        ('strip = true\n[[assets]]\nclass = "m"', "it goes below [[assets]]"),
        ('[[assets]]\nclass = "m"\nname = "x"', "it goes to the very top"),
        ('[[asset]]\nclass = "m"', Hint("did-you-mean", names=("assets",))),
        ('zzz = 1\n[[assets]]\nclass = "m"', "known are assets, name"),
        (
            'name = "(?P<run>.+)"\n[[assets]]\nclass = "m"\nalias = "{rum}"',
            "there are {run}, {name}, {source}, {date}, and {MEMBER:KEY}",
        ),
    ],
)
def test_a_wrong_key_says_what_helps(text: str, hint: Hint | str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_rules(text)
    assert caught.value.hints == (hint,)


def test_what_a_source_does_not_say_is_named() -> None:
    rules = load_rules('[[assets]]\nclass = "m"\nalias = "{date}"')
    with pytest.raises(
        InvalidInput, match=r"alias asks for \{date\}, which nothing says"
    ) as caught:
        plan(rules, {"a": 1}, {"name": "x"}, lambda *_: None)
    assert "{name}" in str(caught.value.hints[0])
    rules = load_rules('[[assets]]\nclass = "m"\ncreated_at = "{a:b}"')
    with pytest.raises(InvalidInput, match="created_at: 3 is no time"):
        plan(rules, {"a": 1}, {}, lambda *_: 3)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2026-11-02T10:15:00+02:00", "2026-11-02T08:15:00+00:00"),
        ("20261102T101500", "2026-11-02T10:15:00+00:00"),
        ("20261102", "2026-11-02T00:00:00+00:00"),
        (20261102, "2026-11-02T00:00:00+00:00"),
        (1_790_000_000.5, "2026-09-21T14:13:20.500000+00:00"),
    ],
)
def test_times(value: Value, said: str) -> None:
    assert parse_time(value).isoformat() == said


@pytest.mark.parametrize("value", ["", "x", True, 1e300, "20261332", ("a",)])
def test_what_is_no_time(value: Value) -> None:
    with pytest.raises(InvalidInput, match="is no time"):
        parse_time(value)
