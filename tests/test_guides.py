"""The guides in docs/ name what there is: every room, command and decision.

    python tests/test_guides.py

writes the table of rooms in docs/ARCHITECTURE.md again.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ama.cli.commands import COMMANDS
from conftest import PROJECT
from test_layers import MODULES, ROOMS

DOCS = PROJECT / "docs"
MAP = DOCS / "ARCHITECTURE.md"
ARCHITECTURE = MAP.read_text(encoding="utf-8")
TABLE = re.compile(r"^\| room \| what lives there \|\n(?:\|.*\n)+", re.MULTILINE)


def table_of_rooms() -> str:
    """Each room with the first sentence or two of its docstring, from the top of the house down."""
    rows = ["| room | what lives there |", "|---|---|"]
    for room in ROOMS:
        if room not in MODULES:
            continue
        source = MODULES[room].read_text(encoding="utf-8")
        subject = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[0]
        text = " ".join(subject.split()).removesuffix(".")
        folder = MODULES[room].name == "__init__.py" and room != "ama"
        rows.append(f"| `{room}{'/' if folder else ''}` | {text} |")
    return "\n".join([*rows, ""])


def test_the_map_has_each_room() -> None:
    found = TABLE.search(ARCHITECTURE)
    assert found is not None
    assert found.group() == table_of_rooms(), "run: python tests/test_guides.py"


def test_the_map_names_only_tests_that_there_are() -> None:
    named = set(re.findall(r"`(?:tests/)?(test_[a-z_]+\.py)`", ARCHITECTURE))
    there = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    assert sorted(named - there) == []


@pytest.mark.parametrize(
    ("guide", "limit"), [("README.md", 940), ("docs/ARCHITECTURE.md", 2250), ("CHANGELOG.md", 650)]
)
def test_guides_stay_short(guide: str, limit: int) -> None:
    assert len((PROJECT / guide).read_text(encoding="utf-8").split()) <= limit


def test_each_command_has_a_section() -> None:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^### (\S+)$", text, re.MULTILINE))
    assert sections == set(COMMANDS)
    assert all(f"[{name}](#{name})" in text for name in COMMANDS)


def test_each_decision_is_listed() -> None:
    index = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\d{4})\]\((\S+)\) \| (.+) \|$", index, re.MULTILINE)
    files = sorted(path.name for path in (DOCS / "decisions").glob("[0-9]*.md"))
    assert [name for _, name, _ in listed] == files
    for number, name, title in listed:
        first = (DOCS / "decisions" / name).read_text(encoding="utf-8").splitlines()[0]
        assert first == f"# {number} {title}"
        assert name.startswith(f"{number}-")


if __name__ == "__main__":
    MAP.write_text(TABLE.sub(lambda _: table_of_rooms(), ARCHITECTURE), encoding="utf-8")
