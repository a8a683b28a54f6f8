"""Config files: TOML, written by ama or by hand; comments and order are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, cast

from ama.errors import Hint, InvalidInput, NotFound, shown
from ama.format.names import check_class, nearest
from ama.system import disk, fs

KNOWN_KEYS: Mapping[str, str] = {
    "user.name": "who makes assets",
    "user.email": "and how to reach them",
    "remote.default": "the name of the remote that is used where none is given",
    "remotes.<name>.url": "where a remote is",
    "add.portable_names": "whether add refuses names that some system can't hold (default true)",
    "classes.<name>.parameters": "what is a parameter in a class's assets: globs FILE or FILE:KEY",
    "classes.<name>.metrics": "what is a metric",
    "classes.<name>.code": "what says which code made an asset",
    "classes.<name>.data": "what says of which data it was made",
    "classes.<name>.higher_is_better": "of which metrics: globs of their keys",
    "classes.<name>.lower_is_better": "of which metrics",
    "cache.size": "how much of fetched assets this machine keeps, such as 50GiB (default 10GiB;"
    " 0: nothing)",
    "cache.directory": "where it keeps them; a group may share it",
    "references.allow": "servers that content by reference may be read from: beginnings of URLs,"
    " such as https://data.example/, sftp://host/sets/ (default none; buckets and files always)",
    "record.git": "whether an asset says at which commit of a git repository it was made (default"
    " true)",
    "record.run": "whether an asset says by which command, where and on which machine it was made"
    " (default true for publish, false for upload and commit)",
}
"""The keys, and their meanings."""

Option = str | int | float | bool

_FLAGS = frozenset(["add.portable_names", "record.git", "record.run"])
_SIZES = frozenset(["cache.size"])
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?) ?([kmgt]?)(i?)b?", re.IGNORECASE).fullmatch
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_CLASS_KEY = re.compile(r"classes\.(.*)\.([a-z_]+)", re.DOTALL).fullmatch
_REMOTE_KEY = re.compile(r"remotes\.(.*)\.url", re.DOTALL).fullmatch
_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*").fullmatch
_ANGLES = re.compile(r"[<>]").search
_REMOTE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}").fullmatch


def load(path: Path) -> dict[str, object]:
    """Read a config file.

    Args:
        path: The file.

    Returns:
        Its tables, nested; empty if there is no such file.

    Raises:
        InvalidInput: It isn't TOML, or a value in it is of the wrong kind.
        StorageError: It can't be read.

    Example:
        >>> set_value(Path("config.toml"), "user.name", "Ann")
        >>> load(Path("config.toml"))
        {'user': {'name': 'Ann'}}
    """
    text = _read(path)
    if not text.strip():
        return {}
    import tomllib

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(
            f"{shown(path)} isn't valid TOML: {shown(error)}", hint="correct that line"
        ) from error
    _check_kinds(path, data)
    return data


def get(data: Mapping[str, object], key: str) -> object | None:
    """Look up a dotted key.

    Args:
        data: The result of `load`.
        key: The key, such as `user.name`.

    Returns:
        The value, or None if it isn't set.

    Example:
        >>> get({"user": {"name": "Ann"}}, "user.name")
        'Ann'
    """
    found: object = data
    for part in _parts(key):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def set_value(path: Path, key: str, text: str) -> None:
    """Set a key in a config file; make the file if there is none.

    Args:
        path: The file.
        key: One of `KNOWN_KEYS`.
        text: The value, as the user types it.

    Raises:
        InvalidInput: There is no such key, the value is of the wrong kind, or the file is broken.
        StorageError: It can't be written; it is unchanged.

    Example:
        >>> set_value(Path("config.toml"), "user.name", "Ann")
    """
    _check_key(key)
    value = _parse(key, text)
    load(path)  # refuse a broken file, and name the line
    import tomlkit

    document = tomlkit.parse(_read(path))
    table: MutableMapping[str, Any] = document
    *parents, last = _parts(key)
    for depth, part in enumerate(parents):
        if part not in table:
            table[part] = tomlkit.table(is_super_table=depth < len(parents) - 1)
        inner = table[part]
        if not isinstance(inner, MutableMapping):
            raise InvalidInput(f"'{part}' in {shown(path)} is a value, and {key} needs a table")
        table = inner
    table[last] = value
    _write(path, tomlkit.dumps(document))


def set_remote(path: Path, name: str, url: str, options: Mapping[str, Option]) -> None:
    """Write a remote into a config file in one write; make the file if there is none.

    Args:
        path: The file.
        name: The remote's name; an existing remote of that name is replaced.
        url: The remote's URL.
        options: The client's options beside the URL; a dot in a name means a table.

    Raises:
        InvalidInput: The remote's or an option's name is invalid, or the file is broken.
        StorageError: It can't be written; it is unchanged.

    Example:
        >>> set_remote(Path("config.toml"), "team", "gs://bucket/models", {"project": "vision"})
    """
    check_remote_name(name)
    load(path)
    import tomlkit

    document = tomlkit.parse(_read(path))
    remotes = document.setdefault("remotes", tomlkit.table(is_super_table=True))
    table = tomlkit.table()
    table["url"] = url
    if options:
        table["options"] = nested(options)
    remotes[name] = table
    _write(path, tomlkit.dumps(document))


def rename_remote(path: Path, name: str, new: str) -> None:
    """Give a remote of a config file another name, with all of its settings.

    Raises:
        InvalidInput: The new name is invalid, or the file is broken.
        StorageError: It can't be written; it is unchanged.

    Example:
        >>> set_remote(Path("config.toml"), "old", "memory://old", {})
        >>> rename_remote(Path("config.toml"), "old", "new")
    """
    check_remote_name(new)
    default = get(load(path), "remote.default")
    import tomlkit

    document = tomlkit.parse(_read(path))
    remotes = cast(MutableMapping[str, Any], document["remotes"])
    remotes[new] = remotes.pop(name)
    if default == name:
        cast(MutableMapping[str, Any], document["remote"])["default"] = new
    _write(path, tomlkit.dumps(document))


def remote_options(data: Mapping[str, object], name: str) -> dict[str, Option]:
    """Return a remote's options in the form that `set_remote` takes.

    Example:
        >>> set_remote(Path("config.toml"), "team", "s3://b", {"client_kwargs.region_name": "eu"})
        >>> remote_options(load(Path("config.toml")), "team")
        {'client_kwargs.region_name': 'eu'}
    """
    found: dict[str, Option] = {}

    def collect(table: Mapping[str, object], prefix: str) -> None:
        for key, value in table.items():
            if isinstance(value, Mapping):
                collect(value, f"{prefix}{key}.")
            elif isinstance(value, str | int | float | bool):
                found[prefix + key] = value

    options = get(data, f"remotes.{name}.options")
    collect(options if isinstance(options, Mapping) else {}, "")
    return found


def unset(path: Path, key: str) -> None:
    """Remove a key from a config file.

    Args:
        path: The file.
        key: The key, such as `user.name`.

    Raises:
        NotFound: It isn't set there.
        InvalidInput: There is no such key, or the file is broken.
        StorageError: It can't be written; it is unchanged.

    Example:
        >>> set_value(Path("config.toml"), "user.name", "Ann")
        >>> unset(Path("config.toml"), "user.name")
    """
    if get(load(path), key) is None:
        _check_key(key)
        raise NotFound(f"{key} isn't set in {shown(path)}", hint=Hint("list-settings"))
    import tomlkit

    document = tomlkit.parse(_read(path))
    _delete(document, _parts(key))
    fs.write_replace(path, tomlkit.dumps(document).encode())


def check_remote_name(name: str) -> None:
    """Refuse a text that can't be a remote's name.

    Raises:
        InvalidInput: It isn't 1 to 100 of `A-Z a-z 0-9 _ -`, a letter or digit first.

    Example:
        >>> check_remote_name("origin")
    """
    if not _REMOTE_NAME(name):
        raise InvalidInput(
            f"'{shown(name)}' can't be a remote's name",
            hint="use 1 to 100 letters, digits, '_' or '-', a letter or digit first",
        )


def _delete(table: MutableMapping[str, Any], parts: list[str]) -> None:
    """Delete a key, and the tables that become empty."""
    if len(parts) == 1:
        del table[parts[0]]
        return
    inner = table[parts[0]]
    _delete(inner, parts[1:])
    if not inner:
        del table[parts[0]]


def nested(options: Mapping[str, Option]) -> dict[str, Any]:
    """Turn options with dots in their names into nested tables, as a client wants them.

    Raises:
        InvalidInput: A name is invalid, or is both a value and a table.

    Example:
        >>> nested({"client_kwargs.region_name": "eu"})
        {'client_kwargs': {'region_name': 'eu'}}
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        if not _OPTION(name):
            raise InvalidInput(
                f"'{shown(name)}' can't be an option's name",
                hint="such as endpoint_url=http://localhost:9000 or client_kwargs.region_name=eu",
            )
        *outer, last = name.split(".")
        at = found
        for part in outer:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                raise InvalidInput(f"option {part} is a value, and {name} needs a table")
        at[last] = value
    return found


def _write(path: Path, text: str) -> None:
    fs.make_directories(path.parent)
    fs.write_replace(path, text.encode())


def _read(path: Path) -> str:
    data = disk.read_file(path) or b""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInput(
            f"{shown(path)} isn't valid TOML: line {line} isn't UTF-8", hint="correct that line"
        ) from None


def class_settings(data: Mapping[str, object], name: str) -> dict[str, tuple[str, ...]]:
    """Return the settings of a class: the globs of each.

    Example:
        >>> set_value(Path("config.toml"), "classes.models.metrics", "eval.yml, notes.yml:best.*")
        >>> class_settings(load(Path("config.toml")), "models")
        {'metrics': ('eval.yml', 'notes.yml:best.*')}
    """
    classes = data.get("classes", {})
    table = classes.get(name, {}) if isinstance(classes, Mapping) else {}
    return {
        setting: texts(value)
        for setting, value in (table.items() if isinstance(table, Mapping) else ())
        if isinstance(value, str | list)
    }


def texts(value: object) -> tuple[str, ...]:
    """Return the texts of a value: one text with commas, or a list of texts.

    Example:
        >>> texts("eval.yml, notes.yml"), texts(None)
        (('eval.yml', 'notes.yml'), ())
    """
    found = value.split(",") if isinstance(value, str) else value
    some = found if isinstance(found, list) else []
    return tuple(text.strip() for text in some if isinstance(text, str) and text.strip())


def _parts(key: str) -> list[str]:
    """Return the tables of a key, and its name there; a class's name may have dots."""
    of_class = _CLASS_KEY(key)
    return ["classes", *of_class.groups()] if of_class else key.split(".")


def _check_key(key: str) -> None:
    found = _REMOTE_KEY(key)
    of_class = _CLASS_KEY(key)
    if found:
        check_remote_name(found.group(1))
    elif of_class and f"classes.<name>.{of_class.group(2)}" in KNOWN_KEYS:
        check_class(of_class.group(1))
    elif key not in KNOWN_KEYS:
        names = nearest(key, KNOWN_KEYS) or list(KNOWN_KEYS)
        raise InvalidInput(
            f"there is no setting '{shown(key)}'", hint=Hint("did-you-mean", names=tuple(names))
        )


def parse_size(text: str, what: str) -> int:
    """Parse a number of bytes, such as `10GiB`, `1.5 GB`, `500kB` or `4096`.

    Args:
        text: The text.
        what: What it is the value of, for the error.

    Raises:
        InvalidInput: It is no number of bytes.

    Example:
        >>> parse_size("10GiB", "cache.size"), parse_size("1.5 GB", "cache.size")
        (10737418240, 1500000000)
    """
    match = _SIZE(text.strip())
    if match is None or (match[3] and not match[2]):
        raise InvalidInput(
            f"'{shown(text)}' can't be the value of {what}: it is no size",
            hint="write such as 500MB, 10GiB or 0",
        )
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].lower()])


def _parse(key: str, text: str) -> str | bool:
    if key in _SIZES:
        parse_size(text, key)
    if key not in _FLAGS:
        if not text.strip() or not text.isprintable():
            raise InvalidInput(f"'{shown(text)}' can't be the value of {key}")
        if key.startswith("user.") and _ANGLES(text):
            raise InvalidInput(
                f"'{text}' can't be the value of {key}: '<' and '>' stand around the email",
                hint=Hint("set-user"),
            )
        return text
    word = text.strip().lower()
    if word not in _TRUE + _FALSE:
        raise InvalidInput(f"{key} is true or false, not '{shown(text)}'")
    return word in _TRUE


def _check_kinds(path: Path, data: Mapping[str, object]) -> None:
    for table in {key.partition(".")[0] for key in KNOWN_KEYS}:
        if not isinstance(data.get(table, {}), Mapping):
            raise InvalidInput(f"'{table}' in {shown(path)} must be a table", hint=_example())
    for key in [k for k in KNOWN_KEYS if "<" not in k]:
        kind, called = (bool, "true or false") if key in _FLAGS else (str, "a text")
        value = get(data, key)
        if key in _SIZES and type(value) is int:
            value = str(value)
        if value is not None and not isinstance(value, kind):
            raise InvalidInput(f"{key} in {shown(path)} must be {called}")
    for name in cast(Mapping[str, object], data.get("remotes", {})):
        url = get(data, f"remotes.{name}.url")
        if not _REMOTE_NAME(name) or not isinstance(url, str):
            raise InvalidInput(
                f"remote '{shown(name)}' in {shown(path)} must have a name and a url",
                hint=_example(),
            )


def _example() -> str:
    return 'write [remotes.team] and below it url = "/mnt/shared/ama"'
