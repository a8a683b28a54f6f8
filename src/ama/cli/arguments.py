"""Parsing the words of a command line: files with commas and globs, assets, metadata."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ama.cli.completion import complete_alias, complete_asset, complete_remote
from ama.system.encoding import from_system, to_system

if TYPE_CHECKING:
    from ama.repo import Repo
    from ama.values import Scalar

AssetArgument = Annotated[
    str,
    typer.Argument(
        metavar="ASSET",
        autocompletion=complete_asset,
        help="class/7, class@alias, @alias (of the class here), class (its newest), an id, or HEAD;"
        " each with ~N.",
    ),
]


def as_given(value: str | None) -> str | None:
    """Decode a value that may be a path, as the library expects it; a callback of options."""
    return None if value is None else to_system(value)


RemoteOption = Annotated[
    str | None,
    typer.Option(
        "--remote",
        metavar="REMOTE",
        autocompletion=complete_remote,
        callback=as_given,
        help="A remote by name or URL, instead of the default one.",
    ),
]
IncludeOption = Annotated[
    list[str] | None,
    typer.Option("--include", metavar="GLOB", help="Only files that match; repeatable."),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="No files that match; repeatable."),
]
CodeOption = Annotated[
    str | None,
    typer.Option(
        "--code",
        metavar="DIR",
        callback=as_given,
        help="Where the code is that made it, in a git repository.",
    ),
]
MessageOption = Annotated[
    str | None,
    typer.Option("-m", "--message", metavar="TEXT", help="Why this asset was made."),
]
AliasesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--alias",
        metavar="ALIAS",
        autocompletion=complete_alias,
        help="A name that moves to the asset when it is published.",
    ),
]
MetaOption = Annotated[
    list[str] | None,
    typer.Option(
        "--meta", metavar="KEY=VALUE", help="Metadata: a number, true or false, else text."
    ),
]
MetaStrOption = Annotated[
    list[str] | None,
    typer.Option(
        "--meta-str", metavar="KEY=TEXT", help="Metadata that is text, whatever it looks like."
    ),
]
OnceOption = Annotated[
    bool, typer.Option("--once", help="Take an asset that says the same, if the class has one.")
]
ForceOption = Annotated[
    bool, typer.Option("-f", "--force", help="Overwrite files whose content is stored nowhere.")
]


def positive(value: int | None) -> int | None:
    """Refuse a number below 1; a callback of options."""
    if value is not None and value < 1:
        raise typer.BadParameter(f"{value} is less than 1")
    return value


LimitOption = Annotated[
    int | None,
    typer.Option(
        "-n", "--limit", metavar="NUMBER", callback=positive, help="Show at most so many."
    ),
]


def byte_count(text: str | int) -> int:
    """Parse a number of bytes such as `500kB`, `10MiB`, `1.5G` or `4096`.

    Raises:
        typer.BadParameter: The text is not a number of bytes.

    Example:
        >>> byte_count("1.5 MB"), byte_count("0")
        (1500000, 0)
    """
    from ama.config import parse_size
    from ama.errors import InvalidInput

    try:
        return parse_size(str(text), "a size")
    except InvalidInput:
        raise typer.BadParameter(f"{text} is no size, such as 500kB or 10MB") from None


_URL = "ama://"
_GLOB = re.compile(r"[*?[]")
_MOST_DIGITS = 21
"""The most characters of a 64-bit integer, with its sign."""
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[+-]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][+-]?[0-9]+)?\Z")


def is_here(word: str) -> bool:
    """Tell whether a word is the path of something on this machine."""
    return os.path.lexists(to_system(word))


def absolute(word: str) -> Path:
    """Convert a word to an absolute path, without following a symlink at its end."""
    return Path(os.path.abspath(to_system(word)))


def expand_paths(
    arguments: Iterable[str],
    *,
    globs: bool = True,
    known: Callable[[str], bool] = is_here,
    hint: str = "see what is here: ls",
) -> list[str]:
    """Turn the words of a line into paths.

    A word that names a file means that file, whatever it looks like. Otherwise drop a comma at its
    end, split it at commas if all parts exist, and expand a glob that the shell did not expand.

    Args:
        arguments: The words.
        globs: Whether to expand globs to files here.
        known: A function that tells whether a file of a name exists.
        hint: What to do about a glob that matches nothing.

    Raises:
        NotFound: A glob matches nothing.
        InvalidInput: A word is empty, as a variable of the shell that is not set.
    """
    paths: list[str] = []
    for argument in arguments:
        paths.extend(_expand(argument, globs, known, hint))
    return list(dict.fromkeys(paths))


def worktree_paths(arguments: Iterable[str], repo: Repo, *, globs: bool = True) -> list[Path]:
    """Turn the words of a line into absolute paths, because the worktree's root may be higher up.

    Args:
        arguments: The words.
        repo: The worktree. Files that it tracks count as existing, even if they are not here.
        globs: Whether to expand globs to files here; else the worktree matches them.
    """

    def known(word: str) -> bool:
        return is_here(word) or repo.is_tracked(absolute(word))

    hint = "`ama status` lists the files here"
    paths = expand_paths(arguments, globs=globs, known=known, hint=hint)
    return [absolute(path) for path in paths]


def _expand(argument: str, globs: bool, known: Callable[[str], bool], hint: str) -> list[str]:
    if not argument:
        from ama.errors import InvalidInput

        raise InvalidInput("'' names no file", hint="for all files below this directory: .")
    if known(argument):
        return [argument]
    parts = [part for part in argument.split(",") if part]
    if len(parts) > 1 and all(known(part) or _matches(part) for part in parts):
        return [path for part in parts for path in _expand(part, globs, known, hint)]
    if argument.endswith(","):
        # Drop the comma even if no file exists, so that the error names the file without it.
        return _expand(argument.removesuffix(","), globs, known, hint) if parts else []
    if not (globs and _GLOB.search(argument)):
        return [argument]
    found = _matches(argument)
    if not found:
        from ama.errors import NotFound

        raise NotFound(f"no file matches '{argument}'", hint=hint)
    return found


def _matches(pattern: str) -> list[str]:
    if not _GLOB.search(pattern):
        return []
    return sorted(map(from_system, glob.glob(to_system(pattern), recursive=True)))


def partition_asset(word: str) -> tuple[str, str, str]:
    """Partition `ASSET:PATH` at its colon; a URL stays whole, so that its error can say so.

    Example:
        >>> partition_asset("models/7:a"), partition_asset("ama://models/7/a")
        (('models/7', ':', 'a'), ('ama://models/7/a', '', ''))
    """
    return (word, "", "") if word.startswith(_URL) else word.partition(":")


def split_asset_path(word: str) -> tuple[str, str]:
    """Split `ASSET:PATH`; a word without a colon is a path of HEAD.

    Example:
        >>> split_asset_path("sequence_models/7:model.yml")
        ('sequence_models/7', 'model.yml')
    """
    asset, colon, path = partition_asset(word)
    if word.startswith(_URL):
        return word, ""
    return (asset or "HEAD", path) if colon else ("HEAD", word)


def parse_metadata(pairs: Sequence[str], literal: Sequence[str]) -> dict[str, Scalar]:
    """Parse `key=value` pairs. Strip spaces around keys, and around values that are not literal.

    Args:
        pairs: Pairs whose values become ints, floats, true or false if they look so.
        literal: Pairs whose values stay text.

    Raises:
        InvalidInput: A pair has no `=`, a key is given twice, or a number is too large.
    """
    metadata: dict[str, Scalar] = {}
    readers: tuple[tuple[Sequence[str], Callable[[str], Scalar]], ...]
    readers = ((pairs, lambda text: parse_scalar(text.strip())), (literal, str))
    for words, read in readers:
        for word in words:
            key, equals, value = word.partition("=")
            key = key.strip()
            if not (key and equals):
                raise _bad_metadata(f"'{word}' isn't key=value")
            if key in metadata:
                raise _bad_metadata(f"metadata '{key}' is given twice")
            metadata[key] = read(value)
    return metadata


def parse_options(pairs: Sequence[str]) -> dict[str, Scalar]:
    """Parse `key=value` pairs of a remote's options; values as in `parse_metadata`.

    Raises:
        InvalidInput: A pair has no `=`, or a key is given twice.
    """
    from ama.errors import InvalidInput

    options: dict[str, Scalar] = {}
    for word in pairs:
        key, equals, value = word.partition("=")
        if not (key and equals) or key in options:
            what = "is given twice" if key in options else "isn't key=value"
            raise InvalidInput(
                f"option '{key}' {what}", hint="--option endpoint_url=http://localhost:9000"
            )
        options[key] = parse_scalar(value)
    return options


def parse_scalar(text: str) -> Scalar:
    """Parse a metadata value: an int, a float, true or false, else the text itself.

    Raises:
        InvalidInput: An integer has more than 64 bits, or a float rounds to infinity.

    Example:
        >>> parse_scalar("1e-4"), parse_scalar("007"), parse_scalar("true")
        (0.0001, '007', True)
    """
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.match(text):
        # Check the length first: `int` refuses numbers of thousands of digits.
        if len(text) > _MOST_DIGITS or not -(2**63) <= int(text) < 2**64:
            raise _too_large(text)
        return int(text)
    if _FLOAT.match(text) and any(c.isdigit() for c in text.lower().partition("e")[0]):
        number = float(text)
        if number - number != 0:
            raise _too_large(text)
        return number
    return text


def _too_large(text: str) -> Exception:
    from ama.errors import InvalidInput

    short = text if len(text) <= _MOST_DIGITS else f"{text[:_MOST_DIGITS]}..."
    return InvalidInput(
        f"{short} is too large for a number", hint=f"as a text: --meta-str KEY={short}"
    )


def _bad_metadata(message: str) -> Exception:
    from ama.errors import InvalidInput

    return InvalidInput(message, hint="--meta learning_rate=0.001 --meta-str commit=00123456")
