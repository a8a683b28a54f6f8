"""`ama deprecate` and `ama delete`: assets that are not to be used any more."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from ama.cli.arguments import RemoteOption, is_here
from ama.cli.completion import complete_asset
from ama.cli.opening import name_in_store, open_store
from ama.cli.output import console, short
from ama.cli.rendering import asset_text
from ama.system.encoding import from_system

if TYPE_CHECKING:
    from ama.results import StatusChange
    from ama.store import Store

ExactAssetArgument = Annotated[
    str,
    typer.Argument(
        metavar="ASSET",
        autocompletion=complete_asset,
        help="class/7, class@alias, @alias (of the class here), an id, or HEAD; each with ~N.",
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why.")]


def deprecate(
    asset: ExactAssetArgument,
    reason: ReasonOption = "",
    undo: Annotated[
        bool, typer.Option("--undo", help="Take it back: the asset may be used again.")
    ] = False,
    remote: RemoteOption = None,
) -> None:
    """Advise against an asset.

    It stays what it is; whoever downloads it is told, and why, and which asset of its class is the
    newest that is not deprecated.

    Example:
        ama deprecate sequence_models/3 --reason "trained on the test data"
        ama deprecate --undo sequence_models/3
    """
    _check_options(reason, undo)
    change = _change(asset, remote, lambda store, name: store.deprecate(name, reason, undo=undo))
    if console.report(change):
        return
    text = asset_text(change.asset, marked=False)
    if undo:
        already = "" if change.old == "deprecated" else ", as it was"
        console.done(f"{text} is not deprecated{already}")
    else:
        console.done(f"deprecated {text}: {change.asset.status_reason}")


def delete(
    asset: ExactAssetArgument,
    reason: ReasonOption = "",
    force: Annotated[
        bool,
        typer.Option("-f", "--force", help="Though others were made from it, or aliases point to"),
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Bring the asset back.")] = False,
    remote: RemoteOption = None,
) -> None:
    """Delete an asset: it is listed and downloaded no more.

    Its number and its record stay, and `ama log CLASS` has them. No space is freed: its content
    stays in the store, and whoever has its id can bring it back. An asset that others were made
    from, or that an alias points to, is deleted with --force only. A next version of it is no such
    other: it is whole without it.

    Example:
        ama delete sequence_models/3 --reason "wrong labels"
        ama delete --undo sequence_models/3
    """
    _check_options(reason, undo)
    if undo and force:
        raise typer.BadParameter("--undo needs no --force")
    change = _change(
        asset,
        remote,
        lambda store, name: store.delete(name, reason=reason, force=force, undo=undo),
    )
    if console.report(change):
        return
    found = change.asset
    if undo:
        already = " already" if change.old == "active" else " again"
        console.done(f"{asset_text(found)} is there{already}")
        return
    why = f": {found.status_reason}" if found.status_reason else ""
    console.done(f"deleted {found.name}{why}")
    for alias in found.aliases:
        console.done(f"{found.class_name}@{alias} still points to it")
    if change.recoverable:
        there = f" --remote {shlex.quote(from_system(remote))}" if remote else ""
        console.done(
            "no space was freed: its content stays, and whoever has its id can bring it back"
        )
        console.next_step(f"ama delete --undo {short(found.id)}{there}")


def _check_options(reason: str, undo: bool) -> None:
    if reason and undo:
        raise typer.BadParameter("--undo takes back the reason, too, and has none of its own")


def _change(
    asset: str, remote: str | None, change: Callable[[Store, str], StatusChange]
) -> StatusChange:
    from ama.errors import InvalidInput, NotFound

    try:
        return change(open_store(remote), name_in_store(asset, remote))
    except (InvalidInput, NotFound) as error:
        if not is_here(asset):
            raise
        hint = f"of a file here: ama rm {shlex.quote(asset)}"
        raise type(error)(error.message, hint=hint) from error
