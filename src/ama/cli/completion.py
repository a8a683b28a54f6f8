"""What the shell completes: commands, options, classes, aliases, numbers and remotes.

The names come from the default store where it is a directory of this machine: a tab must not wait
for a network. Whatever goes wrong, nothing is completed and nothing is printed.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import typer

if TYPE_CHECKING:
    from ama.store import Store


def complete(command: Any) -> int:
    """Answer the completion request that the shell's script put into the environment.

    Bash breaks a word at `@`, and replaces only what is behind it: so `class@al` arrives as three
    words, and the answer must not repeat `class@`.
    """
    # Typer renders each summary with rich where there is one, at 150 ms a tab.
    cast(Any, sys.modules)["rich"] = None
    prefix = _rejoin_words(os.environ)
    answer = io.StringIO()
    try:
        with contextlib.redirect_stdout(answer):
            command.main(prog_name="ama")
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else 1
    else:
        code = 0
    for line in answer.getvalue().splitlines():
        sys.stdout.write(line.removeprefix(prefix) + "\n")
    return code


def _rejoin_words(environ: Any) -> str:
    """Make one word of `class`, `@` and `al` where bash is at it, and return `class@`."""
    try:
        words = environ["COMP_WORDS"].split("\n")
        current = int(environ["COMP_CWORD"])
    except (KeyError, ValueError):
        return ""
    start = current - (0 if words[current] == "@" else 1)
    if not (0 < start < len(words) and words[start] == "@"):
        return ""
    joined = "".join(words[start - 1 : current + 1])
    environ["COMP_WORDS"] = "\n".join([*words[: start - 1], joined, *words[current + 1 :]])
    environ["COMP_CWORD"] = str(start - 1)
    return f"{words[start - 1]}@"


def complete_class(incomplete: str) -> list[str]:
    """Names of classes."""
    return _names(lambda store: (info.name for info in store.classes()), incomplete)


def complete_alias(context: typer.Context, incomplete: str) -> list[str]:
    """Aliases: those of the class that the line names, else those of all classes."""
    # An option that still waits for its value keeps typer from parsing the arguments before it.
    words = {*context.args, context.params.get("class_name"), context.params.get("asset")}

    def aliases(store: Store) -> Iterator[str]:
        named = words & {info.name for info in store.classes()}
        return (move.alias for move in store.aliases(named.pop() if named else None))

    return _names(aliases, incomplete)


def complete_asset(incomplete: str) -> list[str]:
    """Names of assets: classes; behind a `/` their numbers; behind an `@` their aliases."""
    class_name, slash, _ = incomplete.partition("/")
    if slash:
        return _names(
            lambda store: (
                f"{class_name}/{asset.number}"
                for asset in store.assets(class_name)
                if asset.number is not None
            ),
            incomplete,
        )
    class_name, at, _ = incomplete.partition("@")
    if at:
        return _names(
            lambda store: (f"{class_name}@{move.alias}" for move in store.aliases(class_name)),
            incomplete,
        )
    return complete_class(incomplete)


def complete_remote(incomplete: str) -> list[str]:
    """Names of remotes."""

    def remotes() -> Iterator[str]:
        from ama.cli.opening import load_settings

        return iter(load_settings().remotes)

    return _matching(remotes, incomplete)


def complete_key(incomplete: str) -> list[str]:
    """Keys of the configuration."""

    def keys() -> Iterator[str]:
        from ama.config import KNOWN_KEYS

        return (key for key in KNOWN_KEYS if "<" not in key)

    return _matching(keys, incomplete)


def _names(find: Callable[[Store], Iterator[str]], incomplete: str) -> list[str]:
    def names() -> Iterator[str]:
        from ama.cli.opening import load_settings, open_store

        is_remote = "://" in load_settings().remote_url()
        return iter(()) if is_remote else find(open_store())

    return _matching(names, incomplete)


def _matching(find: Callable[[], Iterator[str]], incomplete: str) -> list[str]:
    # Nothing may be printed in the middle of the line that the user is typing.
    with contextlib.suppress(Exception):
        return list(dict.fromkeys(name for name in find() if name.startswith(incomplete)))
    return []
