"""`ama copy`: assets from store to store, without a worktree."""

from __future__ import annotations

from typing import Annotated

import typer

from ama.cli.arguments import as_given
from ama.cli.completion import complete_asset, complete_remote
from ama.cli.opening import load_settings, open_store
from ama.cli.output import console, size
from ama.cli.rendering import alias_change_text


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

    Its ancestors and all that it was made from come along. Only what the other store lacks is
    moved; numbers are a store's own, so it may get another there.

    Example:
        ama copy sequence_models@my_model --from team --to gs://archive/ama
    """
    from ama.cli.progress import terminal_progress
    from ama.storage.urls import open_storage
    from ama.store import Store
    from ama.stores.creation import prepare

    settings = load_settings()
    giving = open_store(source)
    url = settings.remote_url(to)
    # Made by the first write, and not before there is something to copy.
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
