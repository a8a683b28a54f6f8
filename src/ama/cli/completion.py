"""Shell completion of commands, options, assets, their files, aliases, links and remotes.

Names come from the default store only if it is a directory of this machine: a tab must not wait for
a network. On any error, complete nothing and print nothing.
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

    Bash splits a word at `@` and `:`, and replaces only the last part. So `class@al` arrives as
    three words, and the answer must not repeat `class@`.
    """
    from ama.system.encoding import from_system

    # Typer renders each summary with rich if it is installed, which costs 150 ms a tab.
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
        sys.stdout.write(from_system(line.removeprefix(prefix)) + "\n")
    return code


def _rejoin_words(environ: Any) -> str:
    """Rejoin `class`, `@` and `al` to one word where bash completes it, and return `class@`.

    Bash does not tell of a space before a mark. After a command or an option, assume one.
    """
    try:
        words = environ["COMP_WORDS"].split("\n")
        current = int(environ["COMP_CWORD"])
    except (KeyError, ValueError):
        return ""
    if not 0 < current < len(words):
        return ""
    start = last = current if words[current] in _MARKS else current - 1
    while start > 0 and words[start] in _MARKS:
        before = start - 1
        is_command = before < 2 or (before == 2 and _is_group(words[1]))
        if is_command or words[before].startswith("-"):
            break
        start = before if before and words[before - 1] not in _MARKS else before - 1
    if words[last] not in _MARKS:
        return ""
    environ["COMP_WORDS"] = "\n".join(
        [*words[:start], "".join(words[start : current + 1]), *words[current + 1 :]]
    )
    environ["COMP_CWORD"] = str(start)
    return "".join(words[start : last + 1])


_MARKS = ("@", ":")


def _is_group(word: str) -> bool:
    from ama.cli.commands import COMMANDS

    return word in COMMANDS and COMMANDS[word].target == "app"


def complete_class(incomplete: str) -> list[str]:
    """Complete names of classes."""
    return _names(lambda store: iter(store.remote.view().class_names), incomplete)


def complete_alias(context: typer.Context, incomplete: str) -> list[str]:
    """Complete aliases of the class that the line names, else of all classes."""
    # While an option lacks its value, typer does not parse the arguments before it.
    words = {*context.args, context.params.get("class_name"), context.params.get("asset")}

    def aliases(store: Store) -> Iterator[str]:
        view = store.remote.view()
        named = [name for name in view.class_names if name in words] or view.class_names
        return (alias for name in named for alias in view.class_state(name).alias_names())

    return _names(aliases, incomplete)


def complete_class_alias(incomplete: str) -> list[str]:
    """Complete aliases with their classes; after a lone `@`, aliases of the worktree's class."""
    if incomplete.startswith("@"):
        return complete_asset(incomplete)
    return _names(
        lambda store: (
            f"{name}@{alias}"
            for name, state in store.remote.view().class_states().items()
            for alias in state.alias_names()
        ),
        incomplete,
    )


def complete_asset(incomplete: str) -> list[str]:
    """Complete assets: classes, their numbers after a `/`, their aliases after an `@`."""
    class_name, slash, _ = incomplete.partition("/")
    if slash:
        return _names(lambda store: _numbered(store, class_name, incomplete), incomplete)
    class_name, at, _ = incomplete.partition("@")
    if at:
        return _names(
            lambda store: (
                f"{class_name}@{alias}"
                for alias in _live_aliases(store, class_name or _class_here(), incomplete)
            ),
            incomplete,
        )
    return complete_class(incomplete)


MOST_NUMBERS = 1000
"""The most numbers to offer, of the newest assets: nobody reads more."""


def _numbered(store: Store, class_name: str, incomplete: str) -> Iterator[str]:
    """Yield the assets of a class whose names begin so, the newest first."""
    state = store.remote.view().class_state(class_name)
    names = {number: f"{class_name}/{number}" for number in range(state.count, 0, -1)}
    near = [number for number, name in names.items() if name.startswith(incomplete)][:MOST_NUMBERS]
    for number, record in zip(near, state.records(near), strict=True):
        if record.status != "deleted":
            yield names[number]


def _live_aliases(store: Store, class_name: str, incomplete: str) -> Iterator[str]:
    """Yield the aliases of a class that begin as the word does, and whose asset is there."""
    state = store.remote.view().class_state(class_name)
    begun = incomplete.partition("@")[2]
    moves = {a: m for a, m in state.last_moves().items() if a.startswith(begun)}
    state.load(move.asset for move in moves.values() if move.asset)
    for alias, move in moves.items():
        record = state.find(move.asset or b"")
        if record is None or record.status != "deleted":
            yield alias


def _class_here() -> str:
    from ama.cli.targets import open_repo

    return open_repo().class_name


def complete_asset_or_file(incomplete: str) -> list[str]:
    """Complete assets, and paths of their files after a `:`."""
    asset, colon, _ = incomplete.partition(":")
    if not colon:
        return complete_asset(incomplete)

    def paths() -> Iterator[str]:
        from ama.cli.targets import open_asset

        name = asset or "HEAD"
        if name != "HEAD" and _is_far():
            return iter(())
        source, known = open_asset(name)
        return (f"{asset}:{file.path}" for file in source.files(known))

    return _matching(paths, incomplete)


def complete_file(incomplete: str) -> list[str]:
    """Complete paths of HEAD's files, assets, and paths of their files after a `:`."""

    def paths() -> Iterator[str]:
        from ama.cli.targets import open_repo

        return (file.path for file in open_repo().files())

    head = [] if ":" in incomplete else _matching(paths, incomplete)
    return [*complete_asset_or_file(incomplete), *head]


def complete_link(incomplete: str) -> list[str]:
    """Complete assets that are linked for the next upload."""

    def links() -> Iterator[str]:
        from ama.cli.targets import open_repo

        for ref in open_repo().refs():
            yield ref.asset[:10] if ref.number is None else f"{ref.class_name}/{ref.number}"

    return _matching(links, incomplete)


def complete_noted(incomplete: str) -> list[str]:
    """Complete names to unset: metadata keys, aliases and the message of the next upload."""

    def keys() -> Iterator[str]:
        from ama.cli.targets import open_repo

        noted = open_repo().noted()
        yield from noted.metadata
        yield from (f"alias:{alias}" for alias in noted.aliases)
        if noted.message is not None:
            yield "message"

    return _matching(keys, incomplete)


def complete_remote(incomplete: str) -> list[str]:
    """Complete names of remotes."""

    def remotes() -> Iterator[str]:
        from ama.cli.targets import load_settings

        return iter(load_settings().remotes)

    return _matching(remotes, incomplete)


def complete_key(incomplete: str) -> list[str]:
    """Complete keys of the configuration."""

    def keys() -> Iterator[str]:
        from ama.config import KNOWN_KEYS

        return (key for key in KNOWN_KEYS if "<" not in key)

    return _matching(keys, incomplete)


def _names(find: Callable[[Store], Iterator[str]], incomplete: str) -> list[str]:
    def names() -> Iterator[str]:
        from ama.cli.targets import open_store

        return iter(()) if _is_far() else find(open_store())

    return _matching(names, incomplete)


def _is_far() -> bool:
    """Tell whether the default store is across a network."""
    from ama.cli.targets import load_settings

    return "://" in load_settings().remote_url()


def _matching(find: Callable[[], Iterator[str]], incomplete: str) -> list[str]:
    # An error must not print into the line that the user is typing.
    with contextlib.suppress(Exception):
        from ama.system.encoding import to_system

        # Encode the names like the system's words, because typer compares both again.
        names = dict.fromkeys(map(to_system, find()))
        return [name for name in names if name.startswith(incomplete)]
    return []
