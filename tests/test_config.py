"""Config files: what is set is read back, comments stay, and nonsense is told with its line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ama import config
from ama.errors import InvalidInput, NotFound, StorageError
from ama.system.syscalls import System
from ama.wording.hints import words


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ama" / "config.toml"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


def test_a_missing_or_empty_file_sets_nothing(path: Path) -> None:
    assert config.load(path) == {}
    write(path, "\n")
    assert config.load(path) == {}
    assert config.get({}, "user.name") is None


def test_every_known_key_can_be_set_and_unset(path: Path) -> None:
    values = {key.replace("<name>", "origin"): "text" for key in config.KNOWN_KEYS}
    values["add.portable_names"] = values["record.git"] = values["record.run"] = "false"
    values["cache.size"] = "1.5 GiB"
    for key, text in values.items():
        config.set_value(path, key, text)
    data = config.load(path)
    for key, text in values.items():
        assert config.get(data, key) == (False if text == "false" else text)
        config.unset(path, key)
        assert config.get(config.load(path), key) is None
    assert path.read_text() == ""
    assert os.listdir(path.parent) == ["config.toml"]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(
        st.characters(categories=["L", "N", "P", "S"], exclude_characters="<>"), min_size=1
    )
)
def test_any_printable_value_is_read_as_it_was_set(path: Path, text: str) -> None:
    config.set_value(path, "user.name", text)
    assert config.get(config.load(path), "user.name") == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("true", True), ("Yes", True), ("on", True), ("1", True)),
        *(("false", False), ("NO", False), ("off", False), ("0", False)),
    ],
)
def test_a_flag_is_set_by_its_usual_words(path: Path, text: str, value: bool) -> None:
    config.set_value(path, "add.portable_names", text)
    assert config.get(config.load(path), "add.portable_names") is value


HAND_WRITTEN = """\
# who I am
[user]
name = "Ann"  # not Anne
email = 'ann@example.org'

[remotes.old]
url = "/mnt/old"

[remotes]
new.url = "/mnt/new"

[later]
unknown = [1, 2]
"""


def test_what_was_written_by_hand_stays(path: Path) -> None:
    write(path, HAND_WRITTEN)
    config.set_value(path, "user.name", "Bob")
    assert path.read_text() == HAND_WRITTEN.replace('"Ann"', '"Bob"')
    config.set_value(path, "remotes.third.url", "memory://third")
    config.unset(path, "remotes.old.url")
    text = path.read_text()
    for line in ("# who I am", "# not Anne", 'new.url = "/mnt/new"', "unknown = [1, 2]"):
        assert line in text
    remotes = config.load(path)["remotes"]
    assert remotes == {"new": {"url": "/mnt/new"}, "third": {"url": "memory://third"}}


@pytest.mark.parametrize(
    "text",
    [
        'user = {name = "Ann"}',
        'user.name = "Ann"',
        '[user]\nname = "Ann"',
        '"user"."name" = "Ann"',
    ],
)
def test_all_of_tomls_ways_to_write_a_key(path: Path, text: str) -> None:
    write(path, text)
    config.set_value(path, "user.email", "ann@example.org")
    assert config.load(path) == {"user": {"name": "Ann", "email": "ann@example.org"}}
    config.unset(path, "user.name")
    config.unset(path, "user.email")
    assert config.load(path) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[user]\nname = \n", "line 2"),
        ("[user]\nname = 'a'\nname = 'b'\n", "isn't valid TOML"),
        ("[user]\nname = '\udcff'\n", "line 2 isn't UTF-8"),
        ("[user]\nname = 3\n", "user.name in .* must be a text"),
        ("[add]\nportable_names = 'no'\n", "add.portable_names in .* must be true or false"),
        ("user = 'Ann'\n", "'user' in .* must be a table"),
        ("remotes = 'x'\n", "'remotes' in .* must be a table"),
        ("[remotes]\norigin = '/mnt'\n", "remote 'origin' in .* must have a name and a url"),
        ("[remotes.origin]\nurll = '/mnt'\n", "remote 'origin' in .* must have a name and a url"),
        ("[remotes.'a b']\nurl = '/mnt'\n", "remote 'a b' in .* must have a name and a url"),
    ],
)
def test_a_broken_file_is_told_and_left_alone(path: Path, text: str, message: str) -> None:
    write(path, text)
    before = path.read_bytes()
    for work in (
        lambda: config.load(path),
        lambda: config.set_value(path, "user.name", "Ann"),
        lambda: config.unset(path, "user.name"),
    ):
        with pytest.raises(InvalidInput, match=message) as caught:
            work()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("user.nmae", "user.name"),
        ("remote.defualt", "remote.default"),
        ("add.portable", "add.portable_names"),
        ("zzz", "user.name or user.email"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(path: Path, key: str, hint: str) -> None:
    for work in (lambda: config.set_value(path, key, "x"), lambda: config.unset(path, key)):
        with pytest.raises(InvalidInput, match="there is no setting") as caught:
            work()
        assert hint in (words(caught.value.hints) or "")
    assert not path.exists()


@pytest.mark.parametrize("name", ["", "a b", "a.b", "-x", "a/b", "x" * 101])
def test_a_remote_cannot_have_any_name(path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="can't be a remote's name"):
        config.set_value(path, f"remotes.{name}.url", "/mnt")


@pytest.mark.parametrize(
    ("key", "text"),
    [("user.name", ""), ("user.name", " "), ("user.name", "a\nb"), ("add.portable_names", "maybe")],
)
def test_a_value_that_cannot_be_is_refused(path: Path, key: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=key):
        config.set_value(path, key, text)
    assert not path.exists()


def test_what_is_not_set_cannot_be_unset(path: Path) -> None:
    with pytest.raises(NotFound, match=r"user.name isn't set in .*config\.toml"):
        config.unset(path, "user.name")


def test_what_only_a_later_version_knows_can_be_removed(path: Path) -> None:
    write(path, HAND_WRITTEN)
    config.unset(path, "later.unknown")
    assert "later" not in config.load(path)


def test_a_full_disk_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(System):
        def write(self, fd: int, data: memoryview) -> int:
            raise OSError(28, "No space left on device")

    config.set_value(path, "user.name", "Ann")
    monkeypatch.setattr("ama.system.fs._os", Full())
    with pytest.raises(StorageError, match="no space left"):
        config.set_value(path, "user.name", "Bob")
    assert config.load(path) == {"user": {"name": "Ann"}}
    assert os.listdir(path.parent) == ["config.toml"]


def test_globs_of_a_class_are_a_text_or_a_list(path: Path) -> None:
    write(
        path, '[classes."a.b"]\nmetrics = "x.yml, y.yml:best.*,"\ndata = [" d.yml", 3]\ncode = 1\n'
    )
    assert config.class_settings(config.load(path), "a.b") == {
        "metrics": ("x.yml", "y.yml:best.*"),
        "data": ("d.yml",),
    }
