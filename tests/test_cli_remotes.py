"""`ama remote`: what it says about which remote is which, and where it is configured."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import Ama


@pytest.fixture
def worktree(tmp_path: Path, run: Ama) -> Path:
    directory = tmp_path / "w"
    directory.mkdir()
    run.ok("init", "models", cwd=directory)
    return directory


def test_a_new_remote_says_which_one_stays_the_default(worktree: Path, run: Ama) -> None:
    told = run.ok("remote", "add", "--user", "team", "/mnt/team", cwd=worktree)
    assert "added remote team: for this user, in all directories: /mnt/team" in told.stdout
    assert "next: ama upload\n" in told.stdout
    told = run.ok("remote", "add", "nob", "/mnt/nob", cwd=worktree)
    assert "the default stays team" in told.stderr
    assert "next: ama upload --remote nob, or ama remote default nob" in told.stdout
    told = run.ok("remote", "default", "nob", cwd=worktree)
    assert told.stdout == "nob is the default remote of this worktree\n"
    told = run.ok("remote", "default", "--user", "team", cwd=worktree)
    assert told.stdout == "team is the default remote for this user, in all directories\n"
    assert "here nob stays the default" in told.stderr


def test_a_remote_of_two_places_is_told_apart(worktree: Path, run: Ama) -> None:
    run.ok("remote", "add", "--user", "team", "/mnt/users", cwd=worktree)
    told = run.ok("remote", "add", "team", "/mnt/here", cwd=worktree)
    assert "here it stands for the team of this user, /mnt/users" in told.stderr
    told = run.ok("remote", "remove", "team", cwd=worktree)
    assert "removed remote team of this worktree; what is stored there stays" in told.stdout
    assert "another team is configured for this user: /mnt/users" in told.stderr
    run.ok("remote", "add", "team", "/mnt/here", cwd=worktree)
    told = run.ok("remote", "remove", "--user", "team", cwd=worktree)
    assert "removed remote team of this user" in told.stdout
    assert "another team is configured here: /mnt/here" in told.stderr


def test_a_remote_that_is_not_there_is_looked_for_in_both_places(worktree: Path, run: Ama) -> None:
    run.ok("remote", "add", "--user", "bad2", "/mnt/users", cwd=worktree)
    for command in ("remove", "default"):
        told = run("remote", command, "bad1", cwd=worktree)
        assert told.code == 3
        assert "there is bad2" in told.stderr


def test_the_next_step_after_a_web_server_is_no_upload(worktree: Path, run: Ama) -> None:
    told = run.ok("remote", "add", "web", "https://models.example/ama", cwd=worktree)
    assert "next: ama download CLASS\n" in told.stdout
    run.ok("remote", "add", "team", "/mnt/team", cwd=worktree)
    told = run.ok("remote", "add", "web2", "https://models.example/ama2", cwd=worktree)
    assert "next: ama download CLASS --remote web2\n" in told.stdout


def test_options_are_listed_with_the_remote_that_has_them(worktree: Path, run: Ama) -> None:
    for name, port in (("one", 1), ("two", 2)):
        words = ["--option", f"endpoint_url=http://h:{port}", "--option", f"timeout={port}"]
        run.ok("remote", "add", name, "s3://models/ama", *words, cwd=worktree)
    rows = run.ok("remote", "list", cwd=worktree).stdout.splitlines()
    assert rows[0].split() == ["Remote", "URL", "Default", "Options"]
    assert rows[1].split() == [
        "one",
        "s3://models/ama?endpoint_url=http://h:1",
        "yes",
        "timeout=1",
    ]
    assert rows[2].split() == ["two", "s3://models/ama?endpoint_url=http://h:2", "timeout=2"]
