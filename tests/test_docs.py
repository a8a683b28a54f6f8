"""Every example of the documentation is run: README.md, docs/*.md and the docstrings.

How examples are written is told in CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import io
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import ama
from ama import config
from ama.settings import add_remote, user_config_path
from conftest import PROJECT, SOURCE, isolate

SAMPLE = PROJECT / "examples" / "sample"
DOCUMENTS = [
    path
    for path in [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
    if path.exists()
]

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[a-z]*)[^\n]*$")
DIRECTIVE = re.compile(r"<!--\s*example:\s*(?P<word>\w+).*-->")

# What may differ between a document and a run, in this order, and what stands for it.
VARIES = [
    (r"\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(\.\d+)?( ?UTC|Z|[+-]\d\d:?\d\d)?)?", "TIME"),
    (r"\b\d+ (second|minute|hour|day|week|month|year)s? ago\b|\bjust now\b", "TIME"),
    (r"\b(?=[0-9a-f]*\d)[0-9a-f]{7,64}\b(\.\.\.|…)?", "ID"),
    (r"\b\d+(\.\d+)? ?([kMGT]i?)?B/s\b", "SPEED"),
    (r"\b\d[\d,]*(\.\d+)? ?(([kMGT]i?)?B|bytes?)\b", "SIZE"),
    (r"\b\d+(\.\d+)? ?m?s\b", "DURATION"),
    (r"[ \t]+", " "),
]


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a document; `line` is that of its fence."""

    language: str
    line: int
    text: str
    fresh: bool = False


def blocks(document: Path, *, apart: bool = False) -> list[Block]:
    """The console and python blocks of a document that are to be run, in its order.

    Those marked `apart` need other packages: tests/integrations runs them.
    """
    lines = document.read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    word = ""
    number = 0
    while number < len(lines):
        if directive := DIRECTIVE.search(lines[number]):
            word = directive["word"]
            known = word in {"skip", "fresh", "airflow", "apart"}
            assert known, f"{document.name}:{number + 1}: unknown word {word!r}"
        elif fence := FENCE.match(lines[number]):
            start, indent = number, len(fence["indent"])
            number += 1
            while lines[number].strip() != "```":
                number += 1
            text = "\n".join(line[indent:] for line in lines[start + 1 : number]) + "\n"
            # What runs in Airflow is run by tests/in_airflow.
            left_out = {"skip", "airflow", "apart"}
            wanted = word == "apart" if apart else word not in left_out
            if fence["language"] in {"console", "python"} and wanted:
                found.append(Block(fence["language"], start + 1, text, word == "fresh"))
            word = ""
        elif lines[number].strip():
            word = ""
        number += 1
    return found


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a console block, and the lines that it is to print."""

    line: int
    text: str
    output: list[str] = field(default_factory=list)


def goes_on(command: str) -> bool:
    """Whether a shell would ask for more of a command: a line that `>` begins."""
    return command.endswith("\\") or ("<<'EOF'" in command and not command.endswith("\nEOF"))


def commands(block: Block) -> list[Command]:
    found: list[Command] = []
    after_blank = True
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            found.append(Command(number, line[2:]))
        elif line.startswith("> ") and found and goes_on(found[-1].text):
            found[-1] = Command(found[-1].line, found[-1].text + "\n" + line[2:])
        elif line.startswith("# ") and after_blank:
            pass  # a remark between two commands
        else:
            assert found, f"line {number} is no command: {line!r}"
            found[-1].output.append(line)
        after_blank = not line.strip()
    return found


def normalised(text: str, prefix: str) -> list[str]:
    """The lines of an output with everything replaced that differs from run to run."""
    text = text.replace(prefix, "")
    for pattern, replacement in VARIES:
        text = re.sub(pattern, replacement, text)
    return [line.strip() for line in text.splitlines() if line.strip()]


def matches(expected: list[str], actual: list[str]) -> bool:
    """Whether lines are as expected: `...` is any text in a line, and alone any lines."""
    pattern = ""
    for line in expected:
        if line in {"...", "…"}:
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.escape(part) for part in line.split("...")) + r"\n"
    return re.fullmatch(pattern, "".join(line + "\n" for line in actual)) is not None


class Session:
    """A home, /home/ann, below a directory of its own, and a shell that stands in it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.monkeypatch = monkeypatch
        self.prefix = str(root)
        self.home = root / "home" / "ann"
        self.namespace: dict[str, object] = {"__name__": "__main__"}
        self.enter()
        self.cwd = self.home / "training"
        shutil.copytree(SAMPLE, self.cwd)
        configure_ann()

    def enter(self) -> None:
        self.home.mkdir(parents=True)
        isolate(self.home, self.monkeypatch)
        self.monkeypatch.setenv("USER", "ann")
        self.monkeypatch.setenv("COLUMNS", "200")

    def shell(self, text: str) -> tuple[int, str]:
        """Runs one command where the one before it ended; its exit code and what it printed."""
        place, environment = self.root / "cwd", self.root / "environment"
        remember = f'pwd >"{place}"; export -p >"{environment}"'
        go_on = f'[ ! -f "{environment}" ] || . "{environment}"'
        script = f"trap '{remember}' EXIT\n{go_on}\n{text}\n"
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        self.cwd = Path(place.read_text(encoding="utf-8").strip())
        return done.returncode, done.stdout

    def console(self, document: Path, block: Block) -> None:
        for command in commands(block):
            code, printed = self.shell(command.text)
            where = f"{document.name}:{command.line}: $ {command.text}\n"
            expected = normalised("\n".join(command.output), self.prefix)
            actual = normalised(printed, self.prefix)
            if code != 0:
                shows_error = any("error" in line.lower() for line in expected)
                assert shows_error, f"{where}ended with {code}:\n{printed}"
            if expected:
                assert matches(expected, actual), (
                    f"{where}printed:\n{printed}\nthe document has:\n" + "\n".join(command.output)
                )

    def python(self, document: Path, block: Block) -> None:
        self.monkeypatch.chdir(self.cwd)
        name = f"{document.name}:{block.line}"
        if ">>> " in block.text:
            run_doctest(block.text, name, block.line, self.namespace)
            return
        # Blank lines in front make the line numbers of a traceback those of the document.
        code = compile("\n" * block.line + block.text, document.name, "exec")
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, self.namespace)


def configure_ann() -> None:
    """Gives the session's user a name, as `ama config` would."""
    path = user_config_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    config.set_value(path, "user.name", "Ann Lee")
    config.set_value(path, "user.email", "ann@example.com")


def run_doctest(text: str, name: str, line: int, namespace: dict[str, object]) -> None:
    test = doctest.DocTestParser().get_doctest(text, namespace, name, name, line)
    failures = io.StringIO()
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=flags, verbose=False)
    runner.run(test, out=failures.write, clear_globs=False)
    assert runner.failures == 0, failures.getvalue()
    namespace.update(test.globs)


@pytest.mark.usefixtures("ama_on_path")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_examples_of_a_document_run(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session: Session | None = None
    for number, block in enumerate(blocks(document)):
        if session is None or block.fresh:
            session = Session(tmp_path / str(number), monkeypatch)
        if block.language == "console":
            session.console(document, block)
        else:
            session.python(document, block)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", text)
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    missing = [target for target in local if not (document.parent / target).exists()]
    assert not missing


def make_store_and_worktree() -> None:
    """Makes `store`, which holds models/1@best with one file, and `worktree`, which uploaded it."""
    configure_ann()
    worktree = Path("worktree")
    worktree.mkdir()
    (worktree / "model.txt").write_text("weights", encoding="utf-8")
    ama.Repo.init(worktree, "models")
    add_remote(worktree / ".ama" / "config.toml", "origin", str(Path("store").absolute()))
    repo = ama.Repo.open(worktree)
    repo.add(["model.txt"])
    repo.set(aliases=["best"])
    repo.upload()


def docstrings() -> Iterator[tuple[str, str, str]]:
    """Module, name and text of each docstring of the source that has a doctest."""
    for path in sorted((SOURCE / "ama").rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        inside: list[tuple[str, ast.AST]] = [("", ast.parse(path.read_text(encoding="utf-8")))]
        while inside:
            name, node = inside.pop()
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                if ">>> " in text:
                    yield module, name, text
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.ClassDef | ast.FunctionDef):
                    inside.append((f"{name}.{child.name}".strip("."), child))


@pytest.mark.parametrize(
    ("module", "text"),
    [pytest.param(module, text, id=f"{module}:{name}") for module, name, text in docstrings()],
)
def test_the_example_of_a_docstring_runs(
    module: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "training"
    shutil.copytree(SAMPLE, directory)
    monkeypatch.chdir(directory)
    if re.search(r"\b(Repo|Store)\.open\(\"(worktree|store)\"", text):
        make_store_and_worktree()
    run_doctest(text, module, 0, dict(vars(importlib.import_module(module))))


class TestTheRunner:
    """The runner itself: it would be of no use if it accepted anything."""

    def test_dots_stand_for_text_and_for_lines(self) -> None:
        assert matches(["a ... c", "...", "z"], ["a b c", "1", "2", "z"])
        assert matches(["..."], [])
        assert not matches(["a", "z"], ["a", "1", "z"])
        assert not matches(["a"], ["a", "z"])

    def test_ids_times_and_paths_are_normalised(self) -> None:
        shown = "models/7 (3f9a2c41d0)  2026-11-02 09:14 UTC  641,592 bytes  /tmp/x/home/ann/store"
        assert normalised(shown, "/tmp/x") == ["models/7 (ID) TIME SIZE /home/ann/store"]
        assert normalised("a decade, effaced", "/tmp/x") == ["a decade, effaced"]

    def test_a_console_block_is_commands_and_output(self) -> None:
        block = Block("console", 10, "$ ama init \\\n> models\nmade\n\n# then\n$ ama add .\n")
        assert commands(block) == [
            Command(11, "ama init \\\nmodels", ["made", ""]),
            Command(16, "ama add ."),
        ]

    def test_directives_choose(self, tmp_path: Path) -> None:
        document = tmp_path / "a.md"
        document.write_text(
            "<!-- example: skip -->\n```console\n$ rm -rf /\n```\n"
            "text\n```python\n1\n```\n```text\nx\n```\n"
            "<!-- example: fresh -->\n\n  ```console\n  $ true\n  ```\n",
            encoding="utf-8",
        )
        assert blocks(document) == [
            Block("python", 6, "1\n"),
            Block("console", 14, "$ true\n", fresh=True),
        ]

    @pytest.mark.usefixtures("ama_on_path")
    def test_a_wrong_output_is_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        session = Session(tmp_path / "session", monkeypatch)
        page = Path("page.md")
        kept = "$ cd ..\n$ X=1; export X\n$ echo $X; pwd\n1\n/home/ann\n"
        session.console(page, Block("console", 1, kept))
        with pytest.raises(AssertionError, match="printed"):
            session.console(page, Block("console", 1, "$ echo b\nc\n"))
        with pytest.raises(AssertionError, match="ended with 3"):
            session.console(page, Block("console", 1, "$ exit 3\n"))
        session.console(page, Block("console", 1, "$ echo error: no; exit 3\nerror: no\n"))
        session.python(page, Block("python", 1, "import os\nassert os.environ['HOME']\n"))
        with pytest.raises(AssertionError):
            session.python(page, Block("python", 1, ">>> 1 + 1\n3\n"))
