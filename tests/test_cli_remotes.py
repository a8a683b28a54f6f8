"""`ama remote`: what it says about which remote is which, and where it is configured."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

import servers
from ama.storage.check import check_storage
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


def test_status_says_where_the_asset_is_as_long_as_the_default_remote_has_it_not(
    worktree: Path, tmp_path: Path, run: Ama
) -> None:
    """And it is what the next upload does."""
    for number in ("1", "2"):
        (worktree / "model.yml").write_text(number, encoding="utf-8")
        run.ok("add", ".", cwd=worktree)
        old = run.ok("upload", "--json", cwd=worktree).json()["remote"]
    run.ok("remote", "add", "team", tmp_path / "team", cwd=worktree)
    told = run.ok("status", cwd=worktree).stdout
    assert f" is in {old}; ama upload publishes it to {tmp_path / 'team'}" in told
    assert "nothing to upload" not in told
    assert "published models/2" in run.ok("upload", cwd=worktree).stdout
    assert "nothing to upload" in run.ok("status", cwd=worktree).stdout
    # What the default remote is known to have is told by its number there.
    other = tmp_path / "other"
    run.ok("copy", "models/1", "--from", old, "--to", other)
    run.ok("push", "--remote", other, cwd=worktree)
    told = run.ok("status", cwd=worktree).stdout
    assert told.startswith("models/2 ")
    assert "nothing to upload" in told


def test_a_ref_that_a_new_store_lacks_is_copied_by_the_line_that_is_printed(
    worktree: Path, tmp_path: Path, run: Ama
) -> None:
    (worktree / "model.yml").write_text("1", encoding="utf-8")
    run.ok("add", ".", cwd=worktree)
    run.ok("upload", cwd=worktree)
    run.ok("init", "results", cwd=worktree)
    run.ok("link", "models/1", cwd=worktree)
    run.ok("add", ".", cwd=worktree)
    run.ok("upload", cwd=worktree)
    run.ok("remote", "add", "team", tmp_path / "a team", cwd=worktree)
    told = run.ok("upload", cwd=worktree).stdout
    ama, *words = shlex.split(
        told.partition("which is not in this store; to copy it: ")[2].splitlines()[0]
    )
    assert ama == "ama"
    assert "published models/1" in run.ok(*words, cwd=worktree).stdout


def test_an_alias_that_stays_behind_is_named_and_moved_by_the_line_that_is_printed(
    worktree: Path, tmp_path: Path, run: Ama
) -> None:
    (worktree / "model.yml").write_text("1", encoding="utf-8")
    run.ok("add", ".", cwd=worktree)
    run.ok("set", "--alias", "best", cwd=worktree)
    assert "stays" not in run.ok("upload", cwd=worktree).stdout
    assert "ahead" not in run.ok("status", cwd=worktree).stdout
    (worktree / "model.yml").write_text("2", encoding="utf-8")
    run.ok("add", ".", cwd=worktree)
    told = run.ok("upload", cwd=worktree).stdout
    assert "@best stays at models/1 (" in told
    line = "ama alias move models@best models/2"
    assert line in told
    told = run.ok("status", cwd=worktree).stdout
    assert f"ahead of @best, which is models/1; to move it: {line}\n" in told
    run.ok(*line.split()[1:], cwd=worktree)
    assert "ahead" not in run.ok("status", cwd=worktree).stdout


def test_status_marks_what_is_deprecated(worktree: Path, run: Ama) -> None:
    (worktree / "model.yml").write_text("1", encoding="utf-8")
    run.ok("add", ".", cwd=worktree)
    run.ok("upload", cwd=worktree)
    run.ok("deprecate", "models/1", "--reason", "biased", cwd=worktree)
    told = run.ok("status", cwd=worktree).stdout.splitlines()[0]
    assert told.endswith(" [deprecated]: biased")


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


# ------------------------------------------------------------------------------ check


def everything_below(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


@pytest.mark.parametrize("there", ["absent/deep", "empty", "a store"])
def test_a_check_of_a_directory_leaves_nothing_behind(
    there: str, worktree: Path, tmp_path: Path, run: Ama
) -> None:
    place = tmp_path / there
    if there == "empty":
        place.mkdir()
    elif there == "a store":
        (worktree / "a").write_text("a")
        run.ok("add", "a", cwd=worktree)
        run.ok("upload", "--remote", place, cwd=worktree)
    before = everything_below(tmp_path)
    told = run.ok("remote", "check", place, cwd=tmp_path)
    assert f"{place} is safe to publish to" in told.stdout
    assert everything_below(tmp_path) == before
    absent = f"no directory {place} is there yet"
    assert (absent in told.stderr) == (there == "absent/deep")
    document = run.ok("remote", "check", place, "--json", cwd=tmp_path).json()
    assert document["is_there"] == (there != "absent/deep")


def test_a_check_of_an_sftp_server_leaves_nothing_behind(tmp_path: Path) -> None:
    server = servers.start("sftp")
    assert server.files is not None
    name = f"{os.urandom(8).hex()}/deep"
    report = check_storage(server.storage(name))
    assert (report.can_publish, report.is_there) == (True, False)
    assert not (server.files / name).parent.exists()
    (server.files / name).mkdir(parents=True)
    assert check_storage(server.storage(name)).is_there
    assert everything_below(server.files / name) == []


def test_a_check_of_a_web_server_says_that_it_is_none_to_publish_to(
    tmp_path: Path, run: Ama
) -> None:
    url = servers.start("nginx").url
    run.ok("remote", "add", "web", url, cwd=tmp_path)
    told = run("remote", "check", "web", cwd=tmp_path)
    assert told.code == 8
    assert "reach        yes" in told.stdout
    assert f"error: {url} can be read, and is not one to publish to" in told.stderr
    assert "ama download CLASS --remote web" in told.stderr
    option = "?client_kwargs.trust_env=true"
    told = run("remote", "check", f"{url}{option}", cwd=tmp_path)
    assert f"ama download CLASS --remote '{url}{option}'" in told.stderr
    assert "check/" not in told.output
    told = run("remote", "check", "web", "--json", cwd=tmp_path)
    assert told.code == 8
    document = told.json()
    assert (document["can_read"], document["can_publish"]) == (True, False)


def test_a_check_that_fails_says_why_once_and_what_to_do(tmp_path: Path, run: Ama) -> None:
    broken = tmp_path / "without" / "s3fs.py"
    broken.parent.mkdir()
    broken.write_text("raise ModuleNotFoundError('no', name='s3fs')\n")
    env = {"PYTHONPATH": os.pathsep.join([str(broken.parent), os.environ["PYTHONPATH"]])}
    told = run("remote", "check", "s3://bucket/ama", cwd=tmp_path, env=env)
    assert told.code == 8
    assert told.output.count("needs a package that isn't installed") == 1
    assert "hint: install it: pip install s3fs" in told.stderr
    told = run("remote", "check", "s3://bucket/ama", "--json", cwd=tmp_path, env=env)
    assert told.code == 8
    assert told.json()["findings"][0]["hint"] == "install it: pip install s3fs"


def test_a_check_of_what_cannot_be_written_says_why_once(tmp_path: Path, run: Ama) -> None:
    (tmp_path / "file").write_text("x")
    told = run("remote", "check", tmp_path / "file" / "below", cwd=tmp_path)
    assert told.code == 8
    assert told.output.count("is in the way: it is a file") == 1
    assert "is not safe to publish to" in told.stderr


def test_a_remote_that_exists_is_corrected_by_the_command_that_is_named(
    worktree: Path, tmp_path: Path, run: Ama
) -> None:
    run.ok("remote", "add", "team", tmp_path / "one", cwd=worktree)
    refused = run("remote", "add", "team", tmp_path / "two", cwd=worktree)
    assert "correct it: ama config set remotes.team.url URL" in refused.stderr
    assert "remove it: ama remote remove team" in refused.stderr


def test_a_file_is_no_place_for_a_store(worktree: Path, run: Ama) -> None:
    (worktree / "model.yml").write_text("1", encoding="utf-8")
    refused = run("list", "--remote", worktree / "model.yml", cwd=worktree)
    assert refused.code == 3
    assert f"there is no ama store at {worktree / 'model.yml'}: that is a file" in refused.stderr
    assert "makes it" not in refused.stderr


def test_a_url_with_one_slash_is_told_the_other(worktree: Path, run: Ama) -> None:
    refused = run("remote", "add", "team", "gs:/our-models/ama", cwd=worktree)
    assert (refused.code, refused.stderr.splitlines()[1]) == (
        2,
        "hint: a URL has two slashes: gs://our-models/ama",
    )


@pytest.mark.parametrize("damage", [b"", b"junk", b"[]", b"{}"])
def test_a_damaged_format_is_said_without_words_of_python(
    tmp_path: Path, run: Ama, damage: bytes
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "format.json").write_bytes(damage)
    refused = run("list", "--remote", tmp_path / "store")
    assert refused.code == 6
    assert refused.stderr.splitlines()[0].endswith("is damaged: it is not a store's")
