"""The guides in docs/ name what there is: every module, command and decision.

    python tests/test_guides.py

writes the table of modules in docs/ARCHITECTURE.md again.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from ama.cli.app import COMMANDS
from conftest import PROJECT
from test_layers import INSIDE, MODULES, rank

DOCS = PROJECT / "docs"
MAP = DOCS / "ARCHITECTURE.md"
ARCHITECTURE = MAP.read_text(encoding="utf-8")
TABLE = re.compile(r"^\| rank \| module \| subject \|\n(?:\|.*\n)+", re.MULTILINE)


def table_of_modules() -> str:
    """Each module with its rank, and the first sentence or two of its docstring."""
    rows = ["| rank | module | subject |", "|---|---|---|"]
    for module in sorted(MODULES, key=lambda module: (rank(module), module)):
        layer, inner = rank(module)
        packed = module.partition(".")[0] in INSIDE
        source = MODULES[module].read_text(encoding="utf-8")
        subject = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[0]
        text = " ".join(subject.split()).removesuffix(".")
        number = f"{layer}.{inner}" if packed else f"{layer}"
        rows.append(f"| {number} | `{module}` | {text} |")
    return "\n".join([*rows, ""])


def test_the_map_has_each_module_with_its_rank() -> None:
    found = TABLE.search(ARCHITECTURE)
    assert found is not None
    assert found.group() == table_of_modules(), "run: python tests/test_guides.py"


def test_the_map_names_only_tests_that_there_are() -> None:
    named = set(re.findall(r"`(?:tests/)?(test_[a-z_]+\.py)`", ARCHITECTURE))
    there = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    assert sorted(named - there) == []


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
    MAP.write_text(TABLE.sub(lambda _: table_of_modules(), ARCHITECTURE), encoding="utf-8")
