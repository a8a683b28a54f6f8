"""What is configured: who wins over whom, where things are, and who the author is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ama import config
from ama.errors import AlreadyExists, InvalidInput, NotFound
from ama.results import RemoteInfo
from ama.settings import (
    Settings,
    add_remote,
    list_remotes,
    remove_remote,
    rename_remote,
    set_default_remote,
    set_remote_url,
    user_config_path,
    worktree_config_path,
)
from ama.wording.hints import words

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def user(home: Path) -> Path:
    """The user's own config file."""
    return user_config_path()


@pytest.fixture
def worktree(tmp_path: Path) -> Path:
    (tmp_path / "run" / ".ama").mkdir(parents=True)
    return tmp_path / "run"


@pytest.fixture
def local(worktree: Path) -> Path:
    """The worktree's config file."""
    return worktree_config_path(worktree)


def test_with_nothing_configured_everything_is_in_the_users_directories(home: Path) -> None:
    settings = Settings.load(None)
    assert (settings.user_name, settings.user_email) == (None, None)
    assert (settings.default_remote, settings.default_remote_name) == (None, None)
    assert settings.portable_names
    assert list_remotes(settings) == ()
    for path in (settings.data_dir, settings.cache_dir, settings.user_config_path):
        assert home in path.parents
        assert not path.exists()
    assert settings.remote_url() == str(settings.default_store)
    assert settings.default_store == str(settings.data_dir / "store")


def test_the_environment_moves_the_directories(tmp_path: Path) -> None:
    environ = {f"AMA_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "CACHE", "DATA")}
    settings = Settings.load(None, environ)
    assert settings.user_config_path == tmp_path / "CONFIG" / "config.toml"
    assert settings.cache_dir == tmp_path / "CACHE"
    assert settings.default_store == str(tmp_path / "DATA" / "store")
    relative = Settings.load(None, {**environ, "AMA_DATA_DIR": "here", "AMA_CACHE_DIR": "~/there"})
    assert relative.data_dir == tmp_path / "here"
    assert relative.cache_dir == Path.home() / "there"


def test_the_worktree_wins_over_the_user(user: Path, local: Path, worktree: Path) -> None:
    config.set_value(user, "user.name", "Ann")
    config.set_value(user, "user.email", "ann@example.org")
    config.set_value(user, "add.portable_names", "false")
    config.set_value(local, "user.name", "Ann in this run")
    assert Settings.load(None).user_name == "Ann"
    settings = Settings.load(worktree)
    assert (settings.user_name, settings.user_email) == ("Ann in this run", "ann@example.org")
    assert not settings.portable_names
    config.set_value(local, "add.portable_names", "true")
    assert Settings.load(worktree).portable_names


def test_the_environment_wins_over_the_worktree_and_that_over_the_user(
    user: Path, local: Path, worktree: Path
) -> None:
    add_remote(user, "team", "/mnt/team")
    add_remote(user, "shared", "/mnt/shared-by-user")
    add_remote(local, "shared", "/mnt/shared-by-run")
    set_default_remote(local, "shared")
    assert Settings.load(None).default_remote == "/mnt/team"
    settings = Settings.load(worktree)
    assert (settings.default_remote_name, settings.default_remote) == (
        "shared",
        "/mnt/shared-by-run",
    )
    assert settings.remotes == {"team": "/mnt/team", "shared": "/mnt/shared-by-run"}
    by_name = Settings.load(worktree, {**os.environ, "AMA_REMOTE": "team"})
    assert (by_name.default_remote_name, by_name.default_remote) == ("team", "/mnt/team")
    by_url = Settings.load(worktree, {**os.environ, "AMA_REMOTE": "memory://x"})
    assert (by_url.default_remote_name, by_url.default_remote) == (None, "memory://x")
    unset = Settings.load(worktree, {**os.environ, "AMA_REMOTE": ""})
    assert unset.default_remote == "/mnt/shared-by-run"


def test_the_only_remote_is_the_default_one_and_of_several_none(user: Path) -> None:
    config.set_value(user, "remotes.one.url", "/mnt/one")
    assert Settings.load(None).default_remote_name == "one"
    config.set_value(user, "remotes.two.url", "/mnt/two")
    assert Settings.load(None).default_remote is None


def test_the_first_remote_that_is_added_becomes_the_default_one(user: Path) -> None:
    add_remote(user, "one", "/mnt/one")
    add_remote(user, "two", "memory://two")
    settings = Settings.load(None)
    assert list_remotes(settings) == (
        RemoteInfo("one", "/mnt/one", default=True),
        RemoteInfo("two", "memory://two", default=False),
    )
    set_default_remote(user, "two")
    assert Settings.load(None).remote_url() == "memory://two"
    remove_remote(user, "two")
    assert Settings.load(None).remote_url() == "/mnt/one"
    remove_remote(user, "one")
    assert Settings.load(None).default_remote is None


def test_a_new_remote_takes_no_default_away(user: Path, local: Path, worktree: Path) -> None:
    """Where uploads go is changed by who says so, and not along the way."""
    add_remote(user, "team", "/mnt/team")
    add_remote(local, "mine", "/mnt/mine")
    assert Settings.load(worktree).default_remote_name == "team"
    remove_remote(user, "team")
    assert Settings.load(worktree).default_remote_name == "mine"


def test_the_only_remote_stays_the_default_one_as_another_comes(user: Path) -> None:
    config.set_value(user, "remotes.one.url", "/mnt/one")
    add_remote(user, "two", "/mnt/two")
    assert Settings.load(None).default_remote_name == "one"


def test_a_relative_path_in_a_worktree_is_shown_as_what_it_means(
    local: Path, worktree: Path
) -> None:
    config.set_value(local, "remotes.beside.url", "../store")
    assert remove_remote(local, "beside").url == str(worktree.parent / "store")


def test_a_remote_by_name_or_url(user: Path, tmp_path: Path) -> None:
    add_remote(user, "team", "/mnt/team")
    settings = Settings.load(None)
    assert settings.remote_url("team") == "/mnt/team"
    assert settings.remote_url("memory://x") == "memory://x"
    assert settings.remote_url("./team") == str(tmp_path / "team")
    assert settings.remote_url("../store") == str(tmp_path.parent / "store")
    assert settings.remote_url("~/store") == str(Path.home() / "store")
    with pytest.raises(NotFound, match="there is no remote 'taem'") as caught:
        settings.remote_url("taem")
    assert "team" in (words(caught.value.hints) or "")
    (tmp_path / "store").mkdir()
    with pytest.raises(NotFound, match="there is no remote 'store'") as caught:
        settings.remote_url("store")
    assert words(caught.value.hints) == "a directory is written as a path: ./store"
    for bad in ("", "ftp://bucket/x", "file://host/x"):
        with pytest.raises(InvalidInput):
            settings.remote_url(bad)


def test_relative_paths_are_those_of_their_file(user: Path, local: Path, worktree: Path) -> None:
    config.set_value(local, "remotes.beside.url", "../store")
    config.set_value(user, "remotes.own.url", "store")
    remotes = Settings.load(worktree).remotes
    assert remotes["beside"] == str(worktree.parent / "store")
    assert remotes["own"] == str(user.parent / "store")


def test_a_path_is_kept_as_it_was_meant(
    local: Path, worktree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ama remote add x ../store` is typed in some directory, and used in others."""
    (worktree / "deep").mkdir()
    monkeypatch.chdir(worktree / "deep")
    add_remote(local, "x", "../store")
    monkeypatch.chdir(worktree.parent)
    assert Settings.load(worktree).remote_url("x") == str(worktree / "store")


@pytest.mark.parametrize("wanted", ["team", "AMA"])
def test_a_default_that_is_not_configured_is_never_passed_over(
    user: Path, worktree: Path, wanted: str
) -> None:
    """Else an upload would end in another store than was meant."""
    config.set_value(user, "remote.default", "team")
    found = Settings.load(worktree)
    with pytest.raises(InvalidInput, match="the default remote is 'team', and no such remote"):
        found.remote_url()
    assert found.remote_url("/mnt/other") == "/mnt/other"
    found = Settings.load(worktree, {**os.environ, "AMA_REMOTE": wanted})
    with pytest.raises(NotFound, match="AMA_REMOTE: there is no remote"):
        found.remote_url()


def test_a_remote_that_cannot_be_opened_stops_nobody_else(user: Path) -> None:
    config.set_value(user, "remotes.r1.url", "ftp://x")
    config.set_value(user, "remotes.r2.url", "/mnt/two")
    config.set_value(user, "remote.default", "r1")
    found = Settings.load(None)
    with pytest.raises(InvalidInput, match=r"^remotes\.r1: 'ftp://x'") as caught:
        found.remote_url()
    assert "ama remote remove r1" in str(words(caught.value.hints))
    assert found.remote_url("r2") == "/mnt/two"
    assert found.urls() == ["/mnt/two"]
    set_default_remote(user, "r2")
    remove_remote(user, "r1")
    assert Settings.load(None).remotes == {"r2": "/mnt/two"}


@pytest.mark.parametrize("url", ["host:/path", "ann@host:path"])
def test_a_path_of_another_machine_is_no_directory(user: Path, url: str) -> None:
    with pytest.raises(InvalidInput, match="neither a directory's path") as caught:
        add_remote(user, "scp", url)
    assert f"sftp://{url.partition(':')[0]}/path" in str(words(caught.value.hints))
    add_remote(user, "here", f"./{url}")


def test_adding_and_removing_says_what_is_wrong(user: Path) -> None:
    add_remote(user, "team", "/mnt/team")
    with pytest.raises(AlreadyExists, match="remote 'team' exists already: /mnt/team"):
        add_remote(user, "team", "/mnt/other")
    with pytest.raises(InvalidInput, match="can't be a remote's name"):
        add_remote(user, "a b", "/mnt/other")
    with pytest.raises(InvalidInput, match="knows no ftp:// storage"):
        add_remote(user, "cloud", "ftp://bucket")
    for work in (remove_remote, set_default_remote):
        with pytest.raises(NotFound, match="there is no remote 'taem'"):
            work(user, "taem")
    assert Settings.load(None).remotes == {"team": "/mnt/team"}


def test_a_worktree_may_choose_one_of_the_users_remotes(
    user: Path, local: Path, worktree: Path
) -> None:
    add_remote(user, "one", "/mnt/one")
    add_remote(user, "two", "/mnt/two")
    set_default_remote(local, "two")
    with pytest.raises(NotFound, match="'two' is configured for this user"):
        remove_remote(local, "two")
    assert Settings.load(worktree).default_remote == "/mnt/two"
    assert Settings.load(None).default_remote == "/mnt/one"


# ------------------------------------------------------------------------------ author


def git_config(key: str, value: str, cwd: Path | None = None) -> None:
    where = [] if cwd else ["--global"]
    subprocess.run(["git", "config", *where, key, value], cwd=cwd, check=True)


def test_the_author_as_configured(user: Path) -> None:
    config.set_value(user, "user.name", "Ann Example")
    config.set_value(user, "user.email", "ann@example.org")
    assert Settings.load(None).author() == "Ann Example <ann@example.org>"


@needs_git
def test_the_author_as_git_knows_them(user: Path, worktree: Path) -> None:
    git_config("user.name", "Ann of Git")
    git_config("user.email", "ann@git.example")
    assert Settings.load(None).author() == "Ann of Git <ann@git.example>"
    subprocess.run(["git", "init", "-q", "."], cwd=worktree, check=True)
    git_config("user.email", "ann@this.example", cwd=worktree)
    assert Settings.load(worktree).author() == "Ann of Git <ann@this.example>"
    config.set_value(user, "user.name", "Ann of ama")
    assert Settings.load(worktree).author() == "Ann of ama <ann@this.example>"


@needs_git
def test_the_author_that_the_environment_names_wins(user: Path, worktree: Path) -> None:
    config.set_value(user, "user.name", "Ann of ama")
    config.set_value(user, "user.email", "ann@ama.example")
    git = {**os.environ, "GIT_AUTHOR_NAME": "Git", "GIT_AUTHOR_EMAIL": "git@x.example"}

    def author(**more: str) -> str:
        return Settings.load(worktree, {**git, **more}).author()

    assert author() == "Git <git@x.example>"
    assert author(GIT_AUTHOR_NAME="") == "Ann of ama <git@x.example>"
    assert author(AMA_AUTHOR="Bo Li <bo@x.example>") == "Bo Li <bo@x.example>"
    assert author(AMA_AUTHOR="Bo Li") == "Bo Li <git@x.example>"
    assert author(AMA_AUTHOR="bo@x.example") == "Git <bo@x.example>"
    assert author(AMA_AUTHOR=" ") == "Git <git@x.example>"
    assert Settings.load(worktree, {**git, "AMA_AUTHOR": "Bo"}).names_author()


def test_an_author_who_would_break_the_line_or_the_form(home: Path) -> None:
    git_config("user.name", "Ann\n<admin@example.org>\tExample")
    git_config("user.email", "<ann@example.org>")
    assert Settings.load(None).author() == "Ann admin@example.org Example <ann@example.org>"


def test_the_author_where_nobody_knows_more(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    monkeypatch.setenv("LOGNAME", "ann")
    author = Settings.load(None).author()
    assert author.startswith("ann <ann@")
    assert author.endswith(">")


def test_only_half_of_the_author_is_known(
    user: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    monkeypatch.setenv("LOGNAME", "login")
    config.set_value(user, "user.email", "ann@example.org")
    assert Settings.load(None).author() == "ann <ann@example.org>"
    config.unset(user, "user.email")
    config.set_value(user, "user.name", "Ann")
    assert Settings.load(None).author().startswith("Ann <login@")


def test_a_remote_has_options_and_can_be_renamed(tmp_path: Path) -> None:
    environ = {"AMA_CONFIG_DIR": str(tmp_path)}
    user = user_config_path(environ)
    options = {
        "endpoint_url": "http://localhost:9000",
        "client_kwargs.region_name": "eu",
        "timeout": 5,
    }
    add_remote(user, "team", "s3://bucket/ama", options)
    add_remote(user, "other", "/mnt/other")
    rename_remote(user, "team", "archive")
    settings = Settings.load(environ=environ)
    url = "s3://bucket/ama?client_kwargs.region_name=eu&endpoint_url=http://localhost:9000"
    assert settings.remotes["archive"] == url
    assert settings.options_at(url) == {"timeout": 5}
    assert settings.options_at("s3://bucket/ama") == {}
    assert settings.default_remote_name == "archive"
    assert {remote.name: dict(remote.options) for remote in list_remotes(settings)} == {
        "archive": {"timeout": 5},
        "other": {},
    }
    with pytest.raises(AlreadyExists, match="'other' exists already"):
        rename_remote(user, "archive", "other")
    with pytest.raises(NotFound, match="no remote 'team'"):
        rename_remote(user, "team", "x")
    remove_remote(user, "archive")
    assert list(Settings.load(environ=environ).remotes) == ["other"]


def test_remotes_with_one_url_keep_their_options(
    user: Path, local: Path, worktree: Path, tmp_path: Path
) -> None:
    add_remote(user, "a", "s3://models/ama", {"endpoint_url": "http://a:9000", "timeout": 5})
    add_remote(user, "b", "s3://models/ama/", {"endpoint_url": "http://b:9000", "retries": 1})
    add_remote(local, "c", "s3://models/ama?endpoint_url=http://c:9000")
    settings = Settings.load(worktree)
    for name, own in [("a", {"timeout": 5}), ("b", {"retries": 1}), ("c", {})]:
        url = settings.remote_url(name)
        assert url == f"s3://models/ama?endpoint_url=http://{name}:9000"
        assert settings.options_at(url) == own
    assert {r.name: r.options for r in list_remotes(settings)} == {
        "a": {"timeout": 5},
        "b": {"retries": 1},
        "c": {},
    }
    # In the environment too, a URL says all that is needed.
    named = "s3://models/ama?endpoint_url=http://b:9000"
    found = Settings.load(worktree, {**os.environ, "AMA_REMOTE": named})
    assert found.default_remote == settings.remote_url("b")


def test_a_remote_whose_options_do_not_go_with_its_url_stops_nobody_else(user: Path) -> None:
    config.set_remote(user, "dir", "/mnt/x", {"endpoint_url": "http://a"})
    config.set_remote(user, "twice", "s3://b/x?anon=true", {"anon": True})
    add_remote(user, "good", "/mnt/good")
    found = Settings.load(None)
    with pytest.raises(
        InvalidInput, match=r"^remotes\.dir: a directory has no option endpoint_url"
    ):
        found.remote_url("dir")
    with pytest.raises(InvalidInput, match="option anon is given in the URL and beside it"):
        found.remote_url("twice")
    assert found.urls() == ["/mnt/good", "/mnt/good"]
    with pytest.raises(InvalidInput, match="has no option"):
        set_remote_url(user, "twice", "/mnt/y")


def test_what_is_written_by_hand_is_not_printed(user: Path) -> None:
    config.set_value(user, "remotes.old.url", "https://ann:hunter2@host/x?sig=hunter2")
    found = Settings.load(None)
    assert "hunter2" not in repr(list_remotes(found))
    with pytest.raises(InvalidInput) as caught:
        found.remote_url("old")
    assert "hunter2" not in caught.value.message
    remove_remote(user, "old")
