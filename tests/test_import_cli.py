"""`ama import`: as a user types it, with wrong input too."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conftest import Ama


@pytest.fixture
def here(tmp_path: Path) -> Path:
    root = tmp_path / "w"
    root.mkdir()
    for name in ("a", "b"):
        with zipfile.ZipFile(root / f"run-{name}.zip", "w") as made:
            made.writestr("model.yml", f"name: {name}")
    return root


def test_an_import_and_another(here: Path, run: Ama) -> None:
    dry = run.ok("import", "models", "run-*.zip", "--alias", "{name}", "--dry-run", cwd=here)
    assert "models@run-a" in dry.stdout
    assert "would become 2 assets" in dry.stdout
    done = run.ok("import", "models", "run-*.zip", "--alias", "{name}", cwd=here)
    said, sent, *rest = done.stdout.splitlines()[3:]
    assert said == "2 sources became 2 assets; 0 unchanged, 0 passed over"
    assert " to the new store " in sent
    assert rest == [
        "no remote is configured: this store is on this machine only",
        "next: ama remote add NAME URL",
    ]
    assert run.ok("cat", "models@run-b:model.yml", cwd=here).stdout == "name: b"
    shown = run.ok("show", "models@run-b", cwd=here).stdout
    assert "Imported:" in shown
    assert "import.hash" not in shown
    assert "import.hash = " in run.ok("show", "--all", "models@run-b", cwd=here).stdout
    again = run.ok("import", "models", "-", cwd=here, stdin="run-a.zip\n\nrun-b.zip\n")
    assert "2 unchanged" in again.stdout


def test_what_is_passed_over(here: Path, run: Ama) -> None:
    (here / "run-c.zip").write_bytes(b"nothing")
    failed = run("import", "models", "run-*.zip", "--report", "report.json", cwd=here)
    assert failed.code == 1
    assert "run-c.zip was passed over: " in failed.stderr
    assert "2 sources became 2 assets; 0 unchanged, 1 passed over" in failed.stdout
    report = json.loads((here / "report.json").read_text())
    assert [asset["number"] for asset in report["assets"]] == [1, 2]
    assert report["failed"][0]["source"].endswith("run-c.zip")
    found = run("import", "models", "run-*.zip", "--json", cwd=here)
    assert found.code == 1
    assert len(found.json()["unchanged"]) == 2
    strict = run("import", "models", "run-c.zip", "--strict", cwd=here)
    assert strict.code == 2
    assert strict.stderr.startswith("error: ")


def test_what_no_source_says_is_named(here: Path, run: Ama) -> None:
    """A key or a member with a slip in it: the time would be that of the file, for good."""
    rules = '[[assets]]\nclass = "models"\ncreated_at = "{model.yml:dat}"\n'
    rules += 'metadata = {name = "{model.yml:name}", loss = "{modle.yml:loss}"}\n'
    (here / "rules.toml").write_text(rules)
    done = run.ok("import", "--rules", "rules.toml", "run-*.zip", "--dry-run", cwd=here)
    assert done.stderr.splitlines()[-2:] == [
        "warning: no source says {model.yml:dat}, which a rule of models asks for",
        "warning: no source says {modle.yml:loss}, which a rule of models asks for",
    ]
    with zipfile.ZipFile(here / "run-d.zip", "w") as made:
        made.writestr("model.yml", "dat: 2024-05-01")
    some = run.ok("import", "--rules", "rules.toml", "run-*.zip", cwd=here)
    assert "{model.yml:dat}" not in some.stderr


def test_log_tells_of_imports(here: Path, run: Ama) -> None:
    run.ok("import", "models", "run-a.zip", cwd=here)
    run.ok("publish", "models", "rules.toml", cwd=written(here))
    outside = run.ok("log", "models", cwd=here).stdout
    (line,) = [line for line in outside.splitlines() if line.startswith("Imported:")]
    assert line.endswith("run-a.zip")
    run.ok("download", "models/1", "-o", "got", cwd=here)
    inside = run.ok("log", cwd=here / "got").stdout
    assert line in inside.splitlines()


def written(here: Path) -> Path:
    (here / "rules.toml").write_text("")
    return here


def test_processes(here: Path, run: Ama) -> None:
    done = run.ok("import", "models", "run-*.zip", "--jobs", "2", cwd=here)
    assert "2 sources became 2 assets; 0 unchanged, 0 passed over" in done.stdout
    assert len(done.stderr.splitlines()) == 1  # nobody is configured
    for wrong in ("0", "-1", "9999"):
        refused = run("import", "models", "run-*.zip", "--jobs", wrong, cwd=here)
        assert refused.code == 2
        assert "give 1 to 61" in refused.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["models"], 2, "give a class and sources"),
        (["models", ""], 2, "a source is empty"),
        (["models", "nothing-*.zip"], 3, "there is nothing"),
        (["no class", "run-a.zip"], 2, "class"),
        (["--rules", "none.toml", "run-a.zip"], 3, "none.toml: no such file"),
        (["--rules", "run-a.zip", "run-a.zip"], 2, "isn't UTF-8"),
        (["--rules", "rules.toml", "run-a.zip", "--alias", "x"], 2, "rules say"),
        (["models", "s3://"], 2, "s3://"),
        (["models", "ftp://host/a.zip"], 2, "ftp"),
        (["models", "run-a.zip", "--report", "."], 2, "is a directory"),
        (["run-a.zip", "run-b.zip"], 2, "run-a.zip is a source, and no class is given"),
        (["./run-a.zip", "run-b.zip"], 2, "hint: the class comes first: ama import CLASS"),
        (["run-*.zip", "run-b.zip"], 2, "run-*.zip is a source, and no class is given"),
        (["s3://b/run-a.zip", "run-b.zip"], 2, "and no class is given"),
        (["--rules", "rules.toml", "models", "*.zip"], 3, "hint: with --rules no class is given"),
        (["--from", "hf", "models", "."], 3, "hint: with --from no class is given: leave it out"),
        (["models", "run-c.zip"], 3, "hint: did you mean run-"),
        (["models", "*.zp"], 3, "hint: `**` crosses directories: '**/*.zp'"),
        (["--rules", "rulse.toml", "*.zip"], 3, "hint: did you mean rules.toml?"),
        (["models", "run-a.zip", "--alias", "{nmae}"], 2, "alias asks for {nmae}"),
    ],
)
def test_wrong_input(here: Path, run: Ama, words: list[str], code: int, said: str) -> None:
    (here / "rules.toml").write_text('[[assets]]\nclass = "models"\n')
    done = run("import", *words, cwd=here)
    assert done.code == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "became" not in done.stdout or code == 1


def test_commas_between_sources(here: Path, run: Ama) -> None:
    done = run.ok("import", "models", "run-a.zip,", "run-b.zip,", "--dry-run", cwd=here)
    assert "2 sources would become 2 assets" in done.stdout
    done = run.ok("import", "models", "run-*.zip,", "--dry-run", cwd=here)
    assert "2 sources would become 2 assets" in done.stdout


def test_a_class_may_be_called_as_a_directory(here: Path, run: Ama) -> None:
    (here / "models").mkdir()
    assert "models/1" in run.ok("import", "models", "run-a.zip", cwd=here).stdout


def test_a_directory_of_archives_is_told_of(here: Path, run: Ama) -> None:
    (here / "plain").mkdir()
    (here / "plain" / "a.yml").write_text("a: 1")
    assert "archives" not in run.ok("import", "models", "plain", "--dry-run", cwd=here).stderr
    for place, glob in {".": "'./**/*.zip'", "..": "'../**/*.zip'"}.items():
        done = run.ok("import", "models", place, "--dry-run", cwd=here)
        assert done.stderr.splitlines()[0] == (
            f"{place} becomes one asset, with the archives in it; to make an asset of each: {glob}"
        )
        each = run.ok("import", "models", glob.strip("'"), "--dry-run", cwd=here)
        assert "2 sources would become 2 assets" in each.stdout


def test_what_was_imported_as_another_class_is_told_of(here: Path, run: Ama) -> None:
    run.ok("import", "models", "run-*.zip", cwd=here)
    assert run.ok("import", "models", "run-*.zip", cwd=here).stderr == ""
    done = run.ok("import", "others", "run-*.zip", cwd=here)
    assert "nothing became of class others: all was imported before" in done.stderr
    again = run.ok("import", "others", "run-*.zip", "--again", cwd=here)
    assert "2 sources became 2 assets" in again.stdout
    assert run.ok("import", "others", "run-*.zip", cwd=here).stderr == ""


def test_quietly(here: Path, run: Ama) -> None:
    assert (
        "models@run-a"
        in run.ok(
            *("import", "models", "run-*.zip", "--alias", "{name}", "--dry-run", "-q"), cwd=here
        ).stdout
    )
    done = run.ok("import", "models", "run-*.zip", "-q", cwd=here)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_hint_of_an_interrupted_import_goes_on(here: Path, run: Ama) -> None:
    stop = (
        "import ama.importing as d\n"
        "def stop(*_, **__): raise KeyboardInterrupt\n"
        "d.list_sources = stop\n"
        "from ama.cli import main\n"
        "main()"
    )
    words = ["import", "models", "run-*.zip"]
    done = subprocess.run(
        [sys.executable, "-c", stop, *words], cwd=here, capture_output=True, text=True
    )
    assert done.returncode == 130
    assert done.stderr.splitlines() == [
        "error: interrupted",
        "hint: go on with it: ama import models 'run-*.zip'",
    ]
    assert "2 sources became 2 assets" in run.ok(*words, cwd=here).stdout


def test_a_guessed_author_is_said_before_it_is_too_late(
    here: Path, run: Ama, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AMA_AUTHOR", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    said = "as nobody is configured; name yourself: ama config set --user user.name"
    (here / "rules.toml").write_text('[[assets]]\nclass = "models"\nauthor = "Ann <a@b.org>"\n')
    told = run.ok("import", "--rules", "rules.toml", "run-*.zip", "--dry-run", cwd=here)
    assert told.stderr == ""
    assert said in run.ok("import", "models", "run-*.zip", "--dry-run", cwd=here).stderr
    assert run.ok("import", "models", "run-*.zip", cwd=here).stderr == ""


def test_a_rule_that_makes_nothing_is_told_of(here: Path, run: Ama) -> None:
    rules = '[[assets]]\nclass = "notes"\nmembers = ["{}"]\n[[assets]]\nclass = "rest"\n'
    for glob, told in {
        "modle*": "nothing became of class notes: no source has modle*",
        "mod*": "nothing became of class rest: no source has the rest",
    }.items():
        (here / "rules.toml").write_text(rules.replace("{}", glob))
        done = run.ok("import", "--rules", "rules.toml", "run-*.zip", "--dry-run", cwd=here)
        assert done.stderr.splitlines()[-1] == told
    run.ok("import", "--rules", "rules.toml", "run-*.zip", cwd=here)
    assert run.ok("import", "--rules", "rules.toml", "run-*.zip", cwd=here).stderr == ""
