"""What holds for every command: help, bad usage, exit codes, JSON errors, interrupts and pipes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from ama import errors
from ama.cli import commands
from ama.cli.main import failure_of
from conftest import Ama

GROUPS = {"alias", "config", "ref", "remote"}
NOT_REPORTING = {"cat"}


def every_command() -> list[tuple[str, ...]]:
    """The words of every command, those of groups included."""
    found: list[tuple[str, ...]] = []
    for name, entry in commands.COMMANDS.items():
        target = getattr(import_module(f"ama.cli.{entry.module}"), entry.target)
        if isinstance(target, typer.Typer):
            found += [(name, str(info.name)) for info in target.registered_commands]
        else:
            found.append((name,))
    return found


each_command = pytest.mark.parametrize("words", every_command(), ids=" ".join)


@each_command
def test_help_has_an_example_and_every_option_has_help(words: tuple[str, ...], run: Ama) -> None:
    result = run.ok(*words, "--help")
    assert result.stderr == ""
    usage, _, rest = result.stdout.partition("\n")
    assert usage.startswith(f"Usage: ama {' '.join(words)} ")
    _, found, example = rest.partition("\n  Example:\n")
    assert found
    assert f"      ama {' '.join(words)}" in example
    assert ("--json" in rest) == (words[0] not in NOT_REPORTING)
    assert "--quiet" in rest
    for line in rest.partition("\nOptions:\n")[2].splitlines():
        option = line.strip()
        if option.startswith("-"):
            assert "  " in option, f"{option} has no help"


def test_no_option_is_named_by_typer() -> None:
    """Typer 0.27.0 names an option that is not named here after its metavar."""
    for source in Path(commands.__file__).parent.glob("*.py"):
        text = source.read_text(encoding="utf-8")
        assert not re.search(r"typer\.Option\(\s*[^\s\"]", text), source.name


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_the_summary_is_the_first_line_of_the_docstring(name: str) -> None:
    entry = commands.COMMANDS[name]
    target = getattr(import_module(f"ama.cli.{entry.module}"), entry.target)
    if isinstance(target, typer.Typer):
        assert str(target.info.help).startswith(entry.summary)
    else:
        assert str(target.__doc__).partition("\n")[0] == entry.summary


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)], ids=str)
def test_the_help_of_ama_names_every_command(words: tuple[str, ...], run: Ama) -> None:
    result = run.ok(*words)
    for name, entry in commands.COMMANDS.items():
        assert f"  {name}" in result.stdout
        assert entry.summary in result.stdout


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_the_help_of_a_group_names_its_commands(group: str, run: Ama) -> None:
    result = run.ok(group, "--help", env={"COLUMNS": "80"})
    for words in every_command():
        if words[0] == group:
            assert f"\n  {words[1]} " in result.stdout
    assert "Example:" in result.stdout
    commands_shown = result.stdout.partition("Commands:")[2].partition("Example:")[0]
    assert "..." not in commands_shown, "a summary is cut"


def test_version(run: Ama) -> None:
    assert run.ok("--version").stdout.startswith("ama ")


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("stauts", "there is no command `ama stauts`", "did you mean status?"),
        ("zzzzz", "there is no command `ama zzzzz`", "see what there is: ama --help"),
        ("alias mov", "there is no command `ama alias mov`", "did you mean move"),
        ("diff --stagd", "there is no option --stagd in `ama diff`", "did you mean --staged?"),
        (
            "alias list --jsn",
            "there is no option --jsn in `ama alias list`",
            "did you mean --json?",
        ),
        ("alias --jsn", "there is no option --jsn in `ama alias list`", "did you mean --json?"),
        ("status -z", "there is no option -z in `ama status`", "see `ama status --help`"),
        ("log -5", "there is no option -5 in `ama log`", "did you mean -n 5?"),
        ("log -n x", "'x' is no whole number", "see `ama log --help`"),
        ("dashboard --port 80x", "'80x' is no whole number", "see `ama dashboard --help`"),
        ("--bogus", "there is no option --bogus in `ama`", "see `ama --help`"),
        ("--json list", "there is no option --json in `ama`", "behind the command"),
        ("remote -q list", "no option -q in `ama remote`", "`ama remote list -q`"),
        ("alias --json list", "no option --json in `ama alias`", "`ama alias list --json`"),
        ("remote list --user", "no option --user in", "it goes with ama remote add, ama remote re"),
        ("config --user", "no option --user in `ama config list`", "it goes with ama config set"),
        ("list --usre", "there is no option --usre in `ama list`", "see `ama list --help`"),
        ("list --quite", "there is no option --quite in `ama list`", "did you mean --quiet?"),
        ("init", "missing argument 'CLASS'", "see `ama init --help`"),
        ("init a b", "`ama init` takes no further words: b", "see `ama init --help`"),
        ("log -n 0", "invalid value for '-n' / '--limit': 0 is less than 1", "see `ama log"),
        ("status -C ..", "there is no option -C in `ama status`", "before the command: ama -C"),
        ("clone x", "there is no command `ama clone`", "did you mean `ama download`?"),
        ("checkout x", "there is no command `ama checkout`", "did you mean `ama switch`?"),
        ("tag x", "there is no command `ama tag`", "did you mean `ama set --alias ALIAS`?"),
        ("help", "there is no command `ama help`", "did you mean `ama --help`?"),
        ("get x", "there is no command `ama get`", "did you mean `ama download`?"),
        ("alias add x", "there is no command `ama alias add`", "did you mean `ama alias move`?"),
        ("remote rm x", "there is no command `ama remote rm`", "did you mean `ama remote remove`?"),
        ("set", "error: say what to set: --alias, --message, --meta", "see `ama set --help`"),
        ("set --meta c=1e400", "1e400 is too large for a number", "--meta-str KEY=1e400"),
        ("add --alias x", "say what to add: PATH...", "see `ama add --help`"),
        ("add ref", "`ama add ref` needs --alias ALIAS; by any name: ama link ASSET", "see"),
        ("add ref inputs", "needs --alias ALIAS; by any name: ama link inputs", "see `ama add"),
        ("add -A", "there is no option -A in `ama add`", "or gone here: ama add ."),
        ("commit -am x", "there is no option -a in `ama commit`", "stage it first: ama add ."),
        ("diff --cached", "there is no option --cached", "did you mean --staged?"),
        ("upload --alias x", "there is no option --alias", "set it first: ama set --alias ALIAS"),
        ("upload a b", "takes no further words: a b", "stage files first: ama add a b"),
        ("upload {a}", "takes no further words: {a}", "stage files first: ama add {a}"),
        ("push origin", "takes no further words: origin", "--remote REMOTE"),
        ("cat models/1 a", "takes no further words: a", "is one word: ASSET:PATH"),
        ("path models/1 a", "takes no further words: a", "is one word: ASSET:PATH"),
        (
            "fetch models@best",
            "no further words: models@best",
            "asset: ama path models@best; another",
        ),
        ("download models best", "takes no further words: best", "--alias best; a directory: -o b"),
        ("set best", "takes no further words: best", "an alias: ama set --alias best"),
        ("deprecate a/1 -m why", "there is no option -m", "did you mean --reason?"),
        ("compare models --sort a", "rank a class; name it: --class CLASS", "see `ama compare"),
        ("version", "there is no command `ama version`", "did you mean `ama --version`?"),
        ("remote set-url a b", "no command", "did you mean `ama config set remotes.NAME.url URL`?"),
        (
            "compare --class a --columns b, c",
            "between the keys stand commas, no spaces: --columns b,c",
            "see `ama compare --help`",
        ),
        ("download a/1 --partial", "--partial goes with --refs", "see `ama download --help`"),
        ("download a/1 --alias b", "ama download a --alias b", "see `ama download --help`"),
        ("download a@b --alias c", "ama download a --alias c", "see `ama download --help`"),
        ("diff a --remote x", "--remote goes with two assets", "see `ama diff --help`"),
        ("diff a/1:b a/2:b", "after --: ama diff a/1 a/2 -- b", "see `ama diff --help`"),
        ("log --limit", "option '--limit' requires an argument", "see `ama log --help`"),
        ("log -n none", "invalid value for '-n' / '--limit'", "see `ama log --help`"),
        ("add a --label x", "--class and --label go with", "see `ama add --help`"),
        ("add a --alias x", "error: --alias goes with `ama add ref`", "see `ama add --help`"),
        ("diff a b c", "at most two assets", "see `ama diff --help`"),
        ("set --meta novalue", "'novalue' isn't key=value", "--meta learning_rate=0.001"),
        ("set --meta a=1 --meta-str a=1", "'a' is given twice", "--meta learning_rate=0.001"),
    ],
)
def test_bad_usage_is_two_lines(line: str, message: str, hint: str, run: Ama) -> None:
    result = run(*line.split())
    wants_json = "--json" in line.split()
    assert result.code == 2
    if wants_json:
        shown = result.json()["error"]
        assert message in shown["message"]
        assert hint in shown["hint"]
        assert result.stderr == ""
        return
    assert result.stdout == ""
    error, said = result.stderr.splitlines()
    assert error.startswith("error: ")
    assert said.startswith("hint: ")
    assert message in error
    assert hint in said


def test_an_error_under_json_is_json_on_stdout_and_nothing_else(run: Ama) -> None:
    result = run("status", "--json")
    assert (result.code, result.stderr) == (3, "")
    assert result.json()["error"]["code"] == "not-found"
    assert result.json()["error"]["hint"] == "start one with `ama init CLASS`" or (
        "ama init" in result.json()["error"]["hint"]
    )


@pytest.mark.parametrize(
    "error",
    [
        errors.AmaError("m", hint="h"),
        errors.InvalidInput("m", hint="h"),
        errors.NotFound("m", hint="h"),
        errors.AlreadyExists("m", hint="h"),
        errors.Conflict("m", hint="h"),
        errors.IntegrityError("m", hint="h"),
        errors.FormatError("m", hint="h"),
        errors.StorageError("m", hint="h"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_ama_keeps_its_code_hint_and_exit_code(error: errors.AmaError) -> None:
    failure = failure_of(error)
    assert (failure.code, failure.exit_code) == (error.code, error.exit_code)
    assert (failure.message, failure.hint) == ("m", "h")


def test_an_unexpected_error_is_internal() -> None:
    failure = failure_of(KeyError("lost\nkey"))
    assert (failure.code, failure.exit_code) == ("internal", 70)
    assert failure.message.startswith("internal: KeyError: ")
    assert "\n" not in failure.message
    assert failure.hint is not None
    assert "AMA_DEBUG=1" in failure.hint


BROKEN = """
import sys, time
import ama.cli.care
def broken(paths):
    {what}
ama.cli.care.expand_paths = broken
sys.argv = ["ama", "hash", "x"]
from ama.cli import main
main()
"""


def run_broken(what: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BROKEN.format(what=what)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_unexpected_error_shows_no_trace_unless_asked() -> None:
    done = run_broken("raise RuntimeError('boom')")
    assert done.returncode == 70
    assert done.stderr.splitlines()[0] == "error: internal: RuntimeError: boom"
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 2

    done = run_broken("raise RuntimeError('boom')", AMA_DEBUG="1")
    assert done.returncode == 70
    assert "Traceback" in done.stderr


def test_an_interrupt_is_one_line() -> None:
    done = run_broken("raise KeyboardInterrupt")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


@pytest.mark.skipif(os.name == "nt", reason="SIGINT can't be sent to one process there")
def test_ctrl_c_while_it_works() -> None:
    working = "print('working', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", BROKEN.format(what=working)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "error: interrupted\n")


@pytest.mark.skipif(os.name == "nt", reason="no such pipes there")
def test_a_closed_pipe_is_silent(tmp_path: Path) -> None:
    for number in range(400):
        (tmp_path / f"{number:04}.bin").write_bytes(b"x" * number)
    process = subprocess.Popen(
        [sys.executable, "-m", "ama", "hash", "*.bin"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ama", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 8
    assert done.stderr == "error: can't write the output: No space left on device\n"


def test_in_another_directory(tmp_path: Path, run: Ama) -> None:
    (tmp_path / "there").mkdir()
    run.ok("-C", "there", "init", "models")
    assert (tmp_path / "there" / ".ama").is_dir()
    assert run.ok("-C", "there", "status", "--json").json()["class_name"] == "models"
    missing = run("-C", "nowhere", "status")
    assert missing.code == 3
    assert missing.stderr.splitlines()[0] == "error: there is no directory 'nowhere'"


@pytest.mark.parametrize("line", ["-q init models", "init models -q", "init models --quiet"])
def test_quiet_says_nothing(line: str, run: Ama) -> None:
    result = run.ok(*line.split())
    assert result.output == ""


def test_no_colour_in_a_pipe(run: Ama) -> None:
    for env in ({}, {"NO_COLOR": "", "TERM": "xterm-256color"}):
        result = run("status", env=env)
        assert "\x1b" not in result.output


def test_json_of_an_error_is_valid_whatever_the_message_holds(run: Ama) -> None:
    result = run("status\udcff\x1b[31m", "--json")
    assert result.code == 2
    shown: Any = json.loads(result.stdout)
    assert shown["error"]["code"] == "invalid-input"
    result = run("status\udcff\x1b[31m")
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("path models@b/a", "'models@b/a' names a file of an asset", "PATH: models@b:a; the"),
        (
            "show models/1/x/a",
            "names a file of an asset, not",
            "models/1:x/a; the asset is models/1",
        ),
        ("export models@b:a --to o", "'models@b:a' names a file", "hint: the asset is models@b"),
        ("path ama://models@b/a", "names a file of an asset", "models@b:a; the asset is models@b"),
        ("cat ama://models@b/a", "names a file of an asset", "models@b:a; the asset is models@b"),
        ("show ama://models@b", "'ama://models@b' names no asset", "did you mean models@b?"),
        ("compare models", "takes two assets or more", "rank a class: ama compare --class CLASS"),
    ],
)
def test_what_was_meant_by_a_name(
    line: str, message: str, hint: str, run: Ama, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("a")
    run.ok("publish", "models", "a", "--alias", "b", cwd=tmp_path)
    result = run(*line.split(), cwd=tmp_path)
    assert result.code == 2
    first, second = result.stderr.splitlines()
    assert message in first
    assert hint in second
