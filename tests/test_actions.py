"""The GitHub Action and the GitLab job: each step is run by the shell that would run it there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

import ama
from conftest import PROJECT

ACTION = PROJECT / "action"
DEFINITION: dict[str, Any] = yaml.safe_load((ACTION / "action.yml").read_text(encoding="utf-8"))
INPUTS: dict[str, dict[str, str]] = DEFINITION["inputs"]
STEPS: list[dict[str, Any]] = DEFINITION["runs"]["steps"]
EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@dataclass
class Done:
    """How a job ended."""

    code: int
    printed: str
    outputs: dict[str, str] = field(default_factory=dict)


class Runner:
    """Runs the action's steps as GitHub does, with ama from this checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = root / "work space"
        self.temp = root / "temp"
        for directory in (self.workspace, self.temp):
            directory.mkdir()
        self.outputs = root / "outputs"
        self.store = root / "store"

    def installed(self) -> None:
        """Put in place what the first step installs: the interpreter of the tests, and its ama."""
        place = self.temp / "ama-action" / "bin"
        place.mkdir(parents=True)
        here = Path(sys.executable).parent
        for name in ("python", "ama"):
            script = place / name
            script.write_text(f'#!/bin/sh\nexec "{here / name}" "$@"\n')
            script.chmod(0o755)

    def run(self, given: Mapping[str, str], *, steps: slice = slice(1, None)) -> Done:
        assert given.keys() <= INPUTS.keys()
        inputs = {name: given.get(name, said.get("default", "")) for name, said in INPUTS.items()}
        printed = ""
        self.outputs.write_text("")
        for step in STEPS[steps]:
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=self.workspace,
                env=self.environment() | evaluated(step["env"], inputs),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=300,
                check=False,
            )
            printed += done.stdout
            if done.returncode:
                return Done(done.returncode, printed)
        return Done(0, printed, read_outputs(self.outputs.read_text(encoding="utf-8")))

    def environment(self) -> dict[str, str]:
        others = ("GITHUB_", "AMA_AUTHOR", "PYTHONSAFEPATH")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(others)}
        return kept | {
            "GITHUB_ACTION_PATH": str(ACTION),
            "GITHUB_ACTOR": "ann",
            "GITHUB_OUTPUT": str(self.outputs),
            "GITHUB_WORKSPACE": str(self.workspace),
            "RUNNER_TEMP": str(self.temp),
            "AMA_REMOTE": str(self.store),
        }

    def opened(self) -> ama.Store:
        return ama.Store.open(self.store)

    def opened_or_made(self) -> ama.Store:
        return ama.Store.open(self.store, create=True)


def evaluated(texts: Mapping[str, str], inputs: Mapping[str, str]) -> dict[str, str]:
    """What the expressions of an `env` are; GitHub puts the values in, and evaluates no further."""
    found = {}
    for name, text in texts.items():
        expression = EXPRESSION.fullmatch(text)
        assert expression is not None
        assert expression[1].startswith("inputs.")
        found[name] = inputs[expression[1].removeprefix("inputs.")]
    return found


def read_outputs(text: str) -> dict[str, str]:
    """What a job's outputs are, by GitHub's rules for that file."""
    found = {}
    lines = iter(text.splitlines())
    for line in lines:
        name, mark, end = line.partition("<<")
        assert mark
        value = []
        for inner in lines:
            if inner == end:
                break
            value.append(inner)
        found[name] = "\n".join(value)
    return found


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    made = Runner(tmp_path)
    made.installed()
    return made


def test_no_script_has_an_expression() -> None:
    """It would be a part of the script: whoever names a branch could run commands."""
    for step in STEPS:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]
        assert "${{" not in (ACTION / step["run"].rpartition("/")[2].strip('"')).read_text()
    used = {
        found
        for step in STEPS
        for text in step["env"].values()
        for found in EXPRESSION.findall(text)
    }
    assert used == {f"inputs.{name}" for name in INPUTS}
    outputs = {EXPRESSION.fullmatch(said["value"])[1] for said in DEFINITION["outputs"].values()}  # type: ignore[index]
    assert outputs == {f"steps.run.outputs.{name}" for name in DEFINITION["outputs"]}


@pytest.mark.slow
def test_the_whole_action_with_this_checkout(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    source = tmp_path / "source"
    # A build writes beside its sources.
    for name in ("src", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, source / name if name == "src" else source)  # type: ignore[operator]
    (runner.workspace / "model.h5").write_bytes(b"weights")
    # A checkout's own modules, with names that Python and pip use.
    for name in ("json", "logging", "secrets", "types", "venv", "pip"):
        (runner.workspace / f"{name}.py").write_text("raise SystemExit('from the checkout')")
    given = {
        "class": "models",
        "files": "model.h5",
        "package": str(source),
        "python": sys.executable,
    }
    done = runner.run(given, steps=slice(0, None))
    assert done.code == 0, done.printed
    assert done.outputs["asset"] == "models/1"
    assert runner.opened().resolve("models/1").read("model.h5") == b"weights"
    # And what GitLab runs, in the environment that has just been made.
    (runner.workspace / "out").mkdir()
    (runner.workspace / "out" / "model.h5").write_bytes(b"weights 2")
    gitlab = run_gitlab(runner, tmp_path, package=str(source))
    assert gitlab.code == 0, gitlab.printed
    assert runner.opened().resolve("sequence_models@my_model").read("model.h5") == b"weights 2"


def test_publish_and_download(runner: Runner) -> None:
    data = runner.opened_or_made().publish("data", {"x": b"x"}, aliases="train")
    git(runner.workspace, "init", "-q")
    (runner.workspace / "model.h5").write_bytes(b"weights")
    (runner.workspace / "out" / "sub").mkdir(parents=True)
    (runner.workspace / "out" / "sub" / "a b.yml").write_bytes(b"a: 1")
    git(runner.workspace, "add", ".")
    git(runner.workspace, "commit", "-qm", "x")
    given = {
        "class": "models",
        "files": "model.h5\r\nout\n\n",
        "aliases": "best\nnewest",
        "refs": "data@train=inputs",
        "metadata": "loss=0.25\nname=a = b\n",
        "message": "wider layers",
    }
    done = runner.run(given)
    assert done.code == 0, done.printed
    info = runner.opened().resolve("models@newest").info
    assert done.outputs == {"asset": "models/1", "id": info.id}
    assert [file.path for file in runner.opened().files("models/1")] == ["model.h5", "sub/a b.yml"]
    assert (info.message, info.author) == ("wider layers", "ann <ann@users.noreply.github.com>")
    assert {key: info.metadata[key] for key in ("loss", "name")} == {"loss": 0.25, "name": "a = b"}
    assert len(str(info.metadata["git.commit"])) == 40
    assert [(ref.asset, ref.label) for ref in info.refs] == [(data.asset.id, "inputs")]
    again = runner.run(given)
    assert again.outputs == done.outputs
    assert len(runner.opened().assets("models")) == 1
    runner.run(given | {"once": "false"})
    assert len(runner.opened().assets("models")) == 2

    done = runner.run({"command": "download", "asset": "models@best", "directory": "got it"})
    assert done.code == 0, done.printed
    assert done.outputs["directory"] == str(runner.workspace / "got it")
    assert (runner.workspace / "got it" / "sub" / "a b.yml").read_bytes() == b"a: 1"
    done = runner.run(
        {
            "command": "download",
            "asset": "models@best",
            "include": "*.h5\n*.yml\nx",
            "exclude": "a *",
            "with-refs": "true",
            "directory": "refs/model",
        }
    )
    assert done.code == 0, done.printed
    assert sorted(os.listdir(runner.workspace / "refs" / "model")) == [".ama", "model.h5"]
    assert (runner.workspace / "refs" / "data-1" / "x").read_bytes() == b"x"


def git(directory: Path, *args: str) -> None:
    who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com"]
    subprocess.run(["git", *who, *args], cwd=directory, check=True, timeout=60)


HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    '"; touch pwned; "',
    "'; touch pwned; '",
    "a && touch pwned",
    "-o pwned",
    "--force",
    "${IFS}touch${IFS}pwned",
    "EOF\ntouch pwned\n",
    "x\nPYTHON\ntouch pwned\n",
    "%0A::set-output name=id::pwned",
    "é ü \t x",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_inputs_do_no_harm(runner: Runner, text: str) -> None:
    (runner.workspace / "model.h5").write_bytes(b"weights")
    line = text.partition("\n")[0]
    given = {"message": text, "metadata": f"key={line}", "author": f"{line} <a@b>"}
    done = runner.run({"class": "models", "files": "model.h5", **given})
    assert done.code == 0, done.printed
    info = runner.opened().resolve("models/1").info
    assert done.outputs == {"asset": "models/1", "id": info.id}
    assert info.message == text
    assert info.metadata["key"] == line
    for name in ("package", "python"):
        assert runner.run({"python": "false", name: text}, steps=slice(0, 1)).code != 0
    assert not list(runner.root.rglob("pwned"))


@pytest.mark.parametrize("text", HOSTILE)
def test_every_input_is_one_word_of_the_command(runner: Runner, text: str) -> None:
    said = runner.root / "said"
    command = runner.temp / "ama-action" / "bin" / "ama"
    answer = json.dumps({"asset": {"class_name": "m", "number": 1, "id": "0"}, "directory": text})
    (runner.root / "answer").write_text(answer)
    command.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" >'{said}'; cat '{runner.root}/answer'\n")
    lines = [line for line in text.split("\n") if line]
    done = runner.run(dict.fromkeys(INPUTS, text) | {"command": "publish", "once": "true"})
    assert done.code == 0, done.printed
    assert said.read_bytes().decode().split("\0")[:-1] == [
        "publish",
        f"--code={runner.workspace}",
        *(f"--{option}={line}" for option in ("alias", "ref", "meta") for line in lines),
        f"--message={text}",
        *("--once", "--json", "--", text),
        *lines,
    ]
    done = runner.run(dict.fromkeys(INPUTS, text) | {"command": "download", "with-refs": "false"})
    assert done.outputs == {"asset": "m/1", "id": "0", "directory": text}
    assert said.read_bytes().decode().split("\0")[:-1] == [
        "download",
        f"--output={text}",
        *(f"--{option}={line}" for option in ("include", "exclude") for line in lines),
        *("--json", "--", text),
    ]
    assert not list(runner.root.rglob("pwned"))


def test_names_that_look_like_options_are_files(runner: Runner) -> None:
    for name in ("--force", "-x", "a b", "$HOME"):
        (runner.workspace / name).write_bytes(name.encode())
    done = runner.run({"class": "models", "files": "--force\n-x\na b\n$HOME"})
    assert done.code == 0, done.printed
    found = {file.path for file in runner.opened().files("models/1")}
    assert found == {"--force", "-x", "a b", "$HOME"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "the input class is missing"),
        ({"class": "models"}, "the input files is missing"),
        ({"class": "models", "files": " \n"}, "the input files is missing"),
        ({"class": "models", "files": "nope"}, "::error::nope: no such file"),
        ({"class": "mod/els", "files": "."}, "::error::"),
        ({"command": "download"}, "the input asset is missing"),
        ({"command": "download", "asset": "models@nope"}, "::error::there is no class models"),
        ({"class": "models", "files": ".", "once": "True"}, "the input once is true or false"),
        ({"class": "models", "files": ".", "once": ""}, "the input once is true or false"),
        (
            {"command": "download", "asset": "models/1", "with-refs": "yes"},
            "the input with-refs is true or false",
        ),
        ({"command": "rm"}, "the input command is publish or download"),
    ],
)
def test_what_is_refused(runner: Runner, given: dict[str, str], said: str) -> None:
    runner.opened_or_made()
    done = runner.run(given)
    assert done.code != 0
    assert said in done.printed
    assert "::error::" in done.printed


def test_no_store_is_named(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    real = runner.environment()
    monkeypatch.setattr(runner, "environment", lambda: real | {"AMA_REMOTE": ""})
    done = runner.run({"class": "models", "files": "."})
    assert "no store is named" in done.printed
    (runner.workspace / "x").write_bytes(b"x")
    done = runner.run({"class": "models", "files": "x", "remote": str(runner.root / "a b")})
    assert done.code == 0, done.printed
    assert ama.Store.open(runner.root / "a b").resolve("models/1").read("x") == b"x"


def test_the_guide_uses_inputs_and_outputs_that_there_are() -> None:
    text = (ACTION / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    job = yaml.safe_load(block)["jobs"]["train"]
    used = [step for step in job["steps"] if "/ama/action@" in step.get("uses", "")]
    assert len(used) == 2
    assert all(step["with"].keys() <= INPUTS.keys() for step in used)
    outputs = set(re.findall(r"steps\.\w+\.outputs\.([a-z-]+)", block))
    assert outputs <= DEFINITION["outputs"].keys()
    assert all("${{" not in step.get("run", "") for step in job["steps"])


# GitLab


def gitlab_job() -> dict[str, Any]:
    text = (PROJECT / "docs" / "pipelines.md").read_text(encoding="utf-8")
    (block,) = [b for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "script:" in b]
    job: dict[str, Any] = yaml.safe_load(block)["publish-model"]
    return job


def run_gitlab(runner: Runner, tmp_path: Path, *, package: str = "", title: str = "wider") -> Done:
    """Runs the script's lines as GitLab's runner does: one after another, in one shell."""
    job = gitlab_job()
    environment = runner.environment() | {
        **{name: str(value) for name, value in job["variables"].items()},
        "AMA_PACKAGE": package,
        "AMA_REMOTE": str(runner.store),
        "CI_COMMIT_TITLE": title,
        "CI_PIPELINE_ID": "7",
        "CI_PROJECT_DIR": str(runner.workspace),
        "GITLAB_USER_NAME": "Ann Lee",
        "GITLAB_USER_EMAIL": "ann@example.com",
    }
    environment["AMA_AUTHOR"] = "Ann Lee <ann@example.com>"
    environment["PATH"] = f"{runner.temp / 'ama-action' / 'bin'}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", "\n".join(job["script"])],
        cwd=runner.workspace,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return Done(done.returncode, done.stdout)


@pytest.mark.parametrize("title", ["wider", *HOSTILE])
def test_the_gitlab_job(runner: Runner, tmp_path: Path, title: str) -> None:
    pip = runner.temp / "ama-action" / "bin" / "pip"
    pip.write_text("#!/bin/sh\n")  # the whole of it runs with the whole action, above
    pip.chmod(0o755)
    (runner.workspace / "out").mkdir()
    (runner.workspace / "out" / "model.h5").write_bytes(b"weights")
    done = run_gitlab(runner, tmp_path, title=title)
    assert done.code == 0, done.printed
    info = runner.opened().resolve("sequence_models@my_model").info
    assert info.message == title
    assert info.metadata["pipeline"] == 7
    assert info.author == "Ann Lee <ann@example.com>"
    assert not list(runner.root.rglob("pwned"))
    run_gitlab(runner, tmp_path, title=title)
    assert len(runner.opened().assets("sequence_models")) == 1
