"""`ama alias`: the movable names of a class, and where they pointed before."""

from __future__ import annotations

from typing import Annotated

import typer

from ama.cli.arguments import AssetArgument, RemoteOption
from ama.cli.commands import new_group, register
from ama.cli.completion import complete_class, complete_class_alias
from ama.cli.output import console, when
from ama.cli.rendering import alias_change_text
from ama.cli.targets import find_repo, name_in_store, open_store
from ama.values import AliasMove, display_name

AliasArgument = Annotated[
    str,
    typer.Argument(
        metavar="[CLASS@]ALIAS",
        autocompletion=complete_class_alias,
        help="An alias; without a class, of the class of this directory.",
    ),
]


def list_(
    class_name: Annotated[
        str | None,
        typer.Argument(metavar="[CLASS]", autocompletion=complete_class, help="Only this class."),
    ] = None,
    remote: RemoteOption = None,
) -> None:
    """List aliases and the assets that they point to.

    Example:
        ama alias list
        ama alias list sequence_models
    """
    moves = open_store(remote).aliases(class_name)
    if console.report(moves):
        return
    if not moves:
        console.note("no aliases; `ama set --alias ALIAS` sets one with the next upload")
        return
    _print_moves(moves)


def history(alias: AliasArgument, remote: RemoteOption = None) -> None:
    """Show where an alias points and pointed before, newest first.

    Example:
        ama alias history sequence_models@my_model
    """
    class_name, name = _split(alias)
    moves = open_store(remote).alias_history(class_name, name)
    if not console.report(moves):
        _print_moves(moves)


def move(alias: AliasArgument, to: AssetArgument, remote: RemoteOption = None) -> None:
    """Point an alias to another asset of its class, or make a new one.

    Example:
        ama alias move sequence_models@my_model sequence_models/3
    """
    class_name, name = _split(alias)
    change = open_store(remote).move_alias(class_name, name, name_in_store(to, remote))
    if not console.report(change):
        console.done(alias_change_text(change))


def remove(alias: AliasArgument, remote: RemoteOption = None) -> None:
    """Remove an alias. Its history is kept, and no asset is removed.

    Example:
        ama alias remove sequence_models@my_model
    """
    class_name, name = _split(alias)
    change = open_store(remote).remove_alias(class_name, name)
    if not console.report(change):
        console.done(alias_change_text(change))


def _split(alias: str) -> tuple[str, str]:
    class_name, _, name = alias.rpartition("@")
    if class_name:
        return class_name, name
    repo = find_repo()
    if repo is None:
        from ama.errors import InvalidInput, shown

        raise InvalidInput(
            f"no class is given for alias '{shown(name)}'", hint=f"write CLASS@{shown(name)}"
        )
    return repo.class_name, name


def _print_moves(moves: tuple[AliasMove, ...]) -> None:
    rows = [
        (f"{move.class_name}@{move.alias}", _target(move), move.moved_by, when(move.moved_at))
        for move in moves
    ]
    console.table(("Alias", "Asset", "Moved By", "Moved At"), rows)


def _target(move: AliasMove) -> str:
    if move.asset is None:
        return "(removed)"
    mark = "" if move.status == "active" else f" [{move.status}]"
    return display_name(move.class_name, move.number, move.asset) + mark


app = new_group(
    "List, move and remove aliases.",
    "ama alias",
    "ama alias history sequence_models@my_model",
)
register(app, "list", list_)
register(app, "history", history)
register(app, "move", move)
register(app, "remove", remove)
