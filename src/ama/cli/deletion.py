"""`ama deprecate`, `ama delete` and `ama copy`: whole assets of a store."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from ama.cli.arguments import RemoteOption, as_given, is_here
from ama.cli.completion import complete_asset, complete_remote
from ama.cli.output import console, short, size
from ama.cli.rendering import alias_change_text, asset_text
from ama.cli.targets import load_settings, name_in_store, open_store
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

    The asset itself does not change. A download of it prints the reason, and the newest asset of
    its class that is not deprecated.

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


def copy(
    asset: Annotated[
        str,
        typer.Argument(
            metavar="ASSET",
            autocompletion=complete_asset,
            help="Its name in the store that has it: a class, class/number, class@alias or an id.",
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="REMOTE",
            autocompletion=complete_remote,
            callback=as_given,
            help="The store that it comes to: a remote's name, a URL or a directory.",
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="REMOTE",
            autocompletion=complete_remote,
            callback=as_given,
            help="The store that has it; by default the default remote.",
        ),
    ] = None,
    aliases: Annotated[
        list[str] | None,
        typer.Option("--alias", metavar="NAME", help="An alias that it gets there. Repeatable."),
    ] = None,
) -> None:
    """Copy an asset from one store to another.

    Its ancestors and all that it was made from are copied too. Only what the other store lacks is
    sent. Each store numbers its own assets, so the number may change.

    Example:
        ama copy sequence_models@my_model --from team --to gs://archive/ama
    """
    from ama.cli.output import terminal_progress
    from ama.storage.urls import open_storage
    from ama.store import Store
    from ama.stores.creation import prepare

    settings = load_settings()
    giving = open_store(source)
    url = settings.remote_url(to)
    # The first write creates the store, so that a failed copy leaves none behind.
    remote = prepare(open_storage(url, settings.options_at(url)), settings)
    target = Store(remote, settings, terminal_progress())
    result = giving.copy(asset, target, aliases or [])
    if console.report(result):
        return
    for found in result.published:
        record = "the record of " if found.status == "deleted" else ""
        console.done(f"published {record}{found.name}")
    for change in result.aliases:
        console.done(alias_change_text(change))
    if not (result.published or result.aliases):
        console.done(f"nothing new: {result.asset.name} is in {result.target}")
        return
    if result.published:
        reused = f"; {size(result.bytes_reused)} were there already" if result.bytes_reused else ""
        to_new = "the new store " if result.store_created else ""
        console.done(f"sent {size(result.bytes_sent)} to {to_new}{result.target}{reused}")
