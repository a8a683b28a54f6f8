"""Hints: the library names what would help as data, and only `wording` and the faces say it."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ama
from ama.errors import Hint
from ama.wording import hints
from ama.wording.hints import WORDS, words
from conftest import Ama
from test_layers import MODULES, parsed, room

FACES = {"wording", "cli", "dashboard"}
VERBS = (
    "add alias commit config copy delete deprecate diff download fetch find fsck hash init link"
    " list log ls note path pull push ref remote restore rm set show status switch upload"
)
COMMAND = re.compile(rf"\bama ({VERBS.replace(' ', '|')})\b")


def codes(module: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Each code that a module gives a hint, with the names of its facts."""
    for node in ast.walk(parsed(module)):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "Hint"):
            continue
        facts = frozenset(word.arg or "**" for word in node.keywords)
        for part in ast.walk(node.args[0]):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value, facts


USED = {code: facts for module in MODULES for code, facts in codes(module)}


def test_each_hint_has_words_and_each_word_is_used() -> None:
    there = WORDS.keys() | hints._FROM_FACTS.keys()
    assert sorted(USED.keys() - there) == []
    assert sorted(there - USED.keys()) == []


@pytest.mark.parametrize("code", sorted(WORDS))
def test_words_say_only_facts_that_the_hint_has(code: str) -> None:
    said = set(re.findall(r"\{(\w+)", WORDS[code]))
    assert said <= USED[code] or "**" in USED[code]


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) not in FACES])
def test_the_library_speaks_no_command_line(module: str) -> None:
    prose = {
        id(node.value)
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    said = [
        f"line {node.lineno}: {node.value}"
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in prose
        and COMMAND.search(node.value)
    ]
    assert said == []


def test_a_hint_is_data(tmp_path: Path) -> None:
    with pytest.raises(ama.NotFound) as caught:
        ama.Store.open(tmp_path / "store", create=True).resolve("models/1")
    (hint,) = caught.value.hints
    assert isinstance(hint, Hint)
    assert (hint.code, dict(hint.facts)) == ("list-classes", {})
    assert pickle.loads(pickle.dumps(caught.value)).hints == (hint,)


def test_facts_are_quoted_in_commands_and_plain_in_prose() -> None:
    several = (Hint("add-again", paths=("a b.txt", "c")), Hint("did-you-mean", names=("x", "y z")))
    assert words(several) == "add it again: ama add 'a b.txt' c; or did you mean x or y z?"
    assert words((Hint("take-them-back", keys=("alias:{a}",), assets=("12",)),)) == (
        "take them back: ama set --unset 'alias:{a}'; ama ref remove 12"
    )
    assert words(()) is None


def test_a_hint_for_many_files_is_still_one_short_line() -> None:
    names = tuple(map(str, range(20_000)))
    assert words((Hint("add-again", paths=names),)) == "add it again: ama add FILE..."
    assert words((Hint("add-again", paths=names[:10]),)).endswith("ama add 0 1 2 3 4 5 6 7 8 9")


def test_the_commands_of_a_hint_look_where_the_failed_one_did(run: Ama, tmp_path: Path) -> None:
    run.ok("init", "models")
    Path("a.txt").write_text("a", encoding="utf-8")
    run.ok("add", "a.txt")
    run.ok("upload", "--remote", "../our store")
    failed = run("show", "models/9", "--remote", "../our store")
    assert "hint: see them all: ama list --remote '../our store' models\n" in failed.stderr
    failed = run("show", "models/9", "--remote=../our store")
    assert "ama list --remote '../our store' models" in failed.stderr
