"""What an asset says of the git repository around its worktree; and what never gets in, or runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ama
from ama import config
from ama.settings import user_config_path, worktree_config_path
from ama.system.git import describe, look, public_url
from conftest import Ama

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


def git(directory: Path, *words: str) -> str:
    named = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    done = subprocess.run(
        ["git", *named, *words], cwd=directory, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit, on branch `main`; a run's directory in it is ignored."""
    root = tmp_path / "code"
    root.mkdir()
    git(root, "init", "-q")
    git(root, "symbolic-ref", "HEAD", "refs/heads/main")
    (root / "train.py").write_text("train()")
    (root / ".gitignore").write_text("runs/\n")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    (root / "runs").mkdir()
    return root


@pytest.fixture
def run(repository: Path) -> ama.Repo:
    """A worktree in the repository, with a file staged."""
    repo = ama.Repo.init(repository / "runs" / "one", "models")
    (repo.root / "model.txt").write_text("weights")
    repo.add(["model.txt"])
    return repo


def recorded(info: ama.AssetInfo | None) -> dict[str, object]:
    assert info is not None
    return {key: v for key, v in info.metadata.items() if key.startswith("git.")}


@pytest.mark.parametrize("by", ["upload", "commit"])
def test_an_asset_says_which_code_made_it(repository: Path, run: ama.Repo, by: str) -> None:
    git(repository, "remote", "add", "origin", "https://ann:secret@example.org/team/code.git")
    (repository / "not-tracked").touch()
    made = run.upload().asset if by == "upload" else run.commit().asset
    assert recorded(made) == {
        "git.repository": "https://example.org/team/code.git",
        "git.commit": git(repository, "rev-parse", "HEAD"),
        "git.branch": "main",
        "git.dirty": False,
    }


def test_what_is_changed_set_or_turned_off(repository: Path, run: ama.Repo) -> None:
    (repository / "train.py").write_text("train(faster=True)")
    git(repository, "checkout", "-q", "--detach")
    run.set(metadata={"git.commit": "mine", "loss": 0.5})
    made = run.upload().asset
    expected = {"git.repository": "code", "git.commit": "mine", "git.dirty": True}
    assert recorded(made) == expected
    config.set_value(user_config_path(), "record.git", "false")
    again = ama.Repo.open(run.root)
    again.set(message="the same again")
    assert recorded(again.upload().asset) == {}


def test_another_commit_is_nothing_new(repository: Path, run: ama.Repo) -> None:
    run.upload()
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    assert run.upload().published == ()
    assert not run.commit().created


def test_a_repository_without_a_commit_or_none_at_all(tmp_path: Path) -> None:
    assert describe(tmp_path, os.environ) == {}
    git(tmp_path, "init", "-q", "new")
    new = tmp_path / "new"
    found = describe(new, os.environ)
    assert found.pop("git.branch")
    assert found == {"git.repository": "new", "git.dirty": False}
    (new / ".git" / "HEAD").write_bytes(b"\0broken")
    assert describe(new, os.environ) == {}


def test_git_that_is_missing_or_too_slow_costs_what_it_would_say(
    repository: Path, run: ama.Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert describe(repository, {**os.environ, "GIT_DIR": "/elsewhere"})["git.branch"] == "main"
    assert describe(repository, os.environ, seconds=0) == {}
    slow = tmp_path / "bin"
    slow.mkdir()
    real = shutil.which("git")
    script = f'#!/bin/sh\ncase "$*" in *status*) exec sleep 60;; esac\nexec {real} "$@"\n'
    (slow / "git").write_text(script)
    (slow / "git").chmod(0o755)
    hasty = describe(repository, {**os.environ, "PATH": f"{slow}:{os.environ['PATH']}"}, 4)
    assert sorted(hasty) == ["git.branch", "git.commit", "git.repository"]
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert recorded(run.upload().asset) == {}


def test_what_git_has_started_is_not_waited_for(repository: Path, tmp_path: Path) -> None:
    """A wrapper may stand before it, or a process behind it that has inherited its output."""
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text("#!/bin/sh\nsleep 30 &\nwait\n")
    wrapper.chmod(0o755)
    before = time.monotonic()
    found = describe(repository, {"PATH": f"{wrapper.parent}:{os.environ['PATH']}"}, 0.3)
    assert (found, time.monotonic() - before < 15) == ({}, True)


@pytest.mark.parametrize("name", ["evil", "e=vil"])
def test_nothing_that_a_repository_names_is_run(
    repository: Path, tmp_path: Path, name: str
) -> None:
    """It may have come with an asset from anywhere."""
    ran = tmp_path / "ran"
    (repository / ".gitattributes").write_text(f"* filter={name}\n")
    git(repository, "add", ".gitattributes")
    git(repository, "commit", "-qm", "attributes")
    for key in (f"filter.{name}.clean", f"filter.{name}.process", "core.fsmonitor", "core.pager"):
        section, _, variable = key.rpartition(".")
        title = section.partition(".")
        head = f'[{title[0]} "{title[2]}"]' if title[2] else f"[{title[0]}]"
        with (repository / ".git" / "config").open("a") as file:
            file.write(f"{head}\n\t{variable} = touch {ran}\n")
    hook = repository / ".git" / "hooks" / "post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
    hook.chmod(0o755)
    (repository / "train.py").write_text("trAin()")  # of the same size: its content is compared
    found = describe(repository, os.environ)
    assert not ran.exists()
    assert found.get("git.dirty") is (True if name == "evil" else None)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:token@example.org/a/b.git", "https://example.org/a/b.git"),
        ("https://token@example.org:8443/a?private_token=x#y", "https://example.org:8443/a"),
        ("ssh://git@example.org:22/a", "ssh://example.org:22/a"),
        ("git@example.org:a/b.git", "example.org:a/b.git"),
        ("https://[::1]:8/a", "https://[::1]:8/a"),
        ("/srv/@team/code", "/srv/@team/code"),
        ("../code", "../code"),
        ("https://user:pass/word@example.org/a", None),
        ("https://user:pa#ss@example.org/a", "https://example.org/a"),
        ("https://tok?en@example.org/a", "https://example.org/a"),
        ("https://tok#en/x@example.org/a", None),
        ("https://user:token%40example.org/a", None),
        ("user:token@example.org:a", None),
        ("https://example.org/ghp_0123456789abcdefghijklmn/a", None),
        ("https://example.org/t/Zk3vQ81xTz07mPq4Rw9c/a", None),
        ("git@example.org:3f9a1c77b2e84d0c9a6b1f5e2d7c8a90/a", None),
        ("https://example.org/a?token=Zk3vQ81xTz07mPq4Rw9c", "https://example.org/a"),
        (
            "https://example.org/6f1d2c3e-8a4b-4c5d-9e0f/_git/a",
            "https://example.org/6f1d2c3e-8a4b-4c5d-9e0f/_git/a",
        ),
        (
            "https://example.org/ImageNetClassification2024v2/a",
            "https://example.org/ImageNetClassification2024v2/a",
        ),
        ("/runs/3f9a1c77b2e84d0c9a6b1f5e2d7c8a90/a", "/runs/3f9a1c77b2e84d0c9a6b1f5e2d7c8a90/a"),
        ("//user:token@example.org/a", None),
        ("//token@example.org/a", None),
        ("./user:token@example.org/a", None),
        ("user:token@example.org\\a", None),
        ("https://example.org/a;token=x", "https://example.org/a"),
        ("example.org:a?token=x", "example.org:a"),
        ("ext::sh -c 'token'", None),
        ("https://example.org/a\nb", None),
        ("", None),
    ],
)
def test_no_credential_of_a_url_gets_in(url: str, shown: str | None) -> None:
    assert public_url(url) == shown


@pytest.fixture
def cli() -> Ama:
    return Ama()


@pytest.fixture
def outside(tmp_path: Path, home: Path) -> ama.Repo:
    """A worktree in no repository, with something staged."""
    work = tmp_path / "outputs"
    work.mkdir()
    (work / "f").write_text("f")
    repo = ama.Repo.init(work, "models")
    repo.add([work / "f"])
    return repo


def test_why_no_code_was_recorded_is_said_once(outside: ama.Repo, cli: Ama) -> None:
    told = cli.ok("upload", cwd=outside.root)
    assert told.stderr.count("no code was recorded") == 1
    assert "is in no git repository; name it: --code DIR, or AMA_CODE" in told.stderr
    (outside.root / "f").write_text("g")
    outside.add([outside.root / "f"])
    assert "no code" not in cli.ok("upload", cwd=outside.root).output


def test_the_code_is_where_it_is_said_to_be(outside: ama.Repo, repository: Path, cli: Ama) -> None:
    told = cli.ok("commit", "--code", str(repository), cwd=outside.root)
    assert "no code" not in told.output
    metadata = outside.log()[0].metadata
    commit = git(repository, "rev-parse", "HEAD").strip()
    assert metadata["git.commit"] == commit
    (outside.root / "f").write_text("g")
    outside.add([outside.root / "f"])
    cli.ok("upload", cwd=outside.root, env={"AMA_CODE": str(repository)})
    assert outside.log()[0].metadata["git.commit"] == commit
    told = cli("upload", "--code", "nowhere", cwd=outside.root)
    assert told.code == 2
    assert "is no directory" in told.stderr
    told = cli("upload", cwd=outside.root, env={"AMA_CODE": "nowhere"})
    assert told.code == 2
    assert "nowhere is no directory" in told.stderr


def test_the_code_of_what_is_published_without_a_worktree(
    repository: Path, cli: Ama, tmp_path: Path
) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    store = ama.Store.open(tmp_path / "store", create=True)
    said = store.publish("models", {"f": b"1"}, code=repository)
    assert (recorded(said.asset)["git.commit"], said.no_code) == (commit, None)
    assert recorded(store.publish("models", {"f": b"2"}).asset) == {}  # nobody has named any
    words = ("publish", "models", repository / "train.py", "--remote", tmp_path / "store")
    cli.ok(*words, env={"AMA_CODE": str(repository)})
    assert recorded(store.resolve("models").info)["git.commit"] == commit
    cli.ok(*words, "--code", repository, "--once")
    assert len(store.assets("models")) == 3
    no_code = store.publish("models", {"f": b"3"}, code=tmp_path).no_code
    assert no_code is not None
    assert no_code.reason == "no_repository"


def test_the_repository_of_the_calling_script_is_recorded(
    outside: ama.Repo, repository: Path, tmp_path: Path
) -> None:
    script = repository / "train.py"
    script.write_text(
        "import ama, sys\nresult = ama.Repo.open(sys.argv[1]).upload()\nprint(result.no_code)\n"
    )
    words = [sys.executable, str(script), str(outside.root)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
    commit = git(repository, "rev-parse", "HEAD").strip()
    assert outside.log()[0].metadata["git.commit"] == commit


def test_each_reason_why_no_code_is_known(
    repository: Path, tmp_path: Path, outside: ama.Repo
) -> None:
    empty = tmp_path / "empty"
    git(tmp_path, "init", "-q", "empty")
    assert look(repository, os.environ).missing is None
    assert look(outside.root, os.environ).missing == "no_repository"
    assert look(empty, os.environ).missing == "no_commit"
    assert look(repository, {**os.environ, "PATH": str(empty)}).missing == "no_git"
    assert look(repository, os.environ, seconds=0).missing == "no_answer"
    config.set_value(worktree_config_path(outside.root), "record.git", "false")
    assert ama.Repo.open(outside.root).upload().no_code is None


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away"
)
def test_a_repository_of_another_user(repository: Path) -> None:
    for path in (repository, repository / ".git"):
        os.chown(path, 4711, 4711)
    found = look(repository, os.environ)
    assert (found.missing, found.directory, found.facts) == ("not_owned", repository, {})
    git_config = repository.parent / "gitconfig"
    git_config.write_text(f"[safe]\n\tdirectory = {repository}\n")
    trusting = {**os.environ, "GIT_CONFIG_GLOBAL": str(git_config)}
    assert look(repository, trusting).missing is None
