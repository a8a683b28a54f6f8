"""The commands for files without a worktree: publish, path."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ama.cli.arguments import (
    AliasesOption,
    CodeOption,
    ExcludeOption,
    IncludeOption,
    MessageOption,
    MetaOption,
    MetaStrOption,
    OnceOption,
    RemoteOption,
    expand_paths,
    parse_metadata,
    partition_asset,
)
from ama.cli.completion import complete_asset, complete_asset_or_file, complete_class
from ama.cli.output import console, terminal_progress
from ama.cli.rendering import note_guessed_author, note_no_code, warn_of_deprecated
from ama.cli.sharing import NewStoreOption, report_upload
from ama.cli.targets import (
    load_settings,
    name_in_store,
    note_last_seen,
    open_reached,
    path_in_asset,
)
from ama.errors import InvalidInput, shown
from ama.system.encoding import from_system, to_system

if TYPE_CHECKING:
    from ama.settings import Settings


def publish(
    class_name: Annotated[
        str, typer.Argument(metavar="CLASS", autocompletion=complete_class, help="Its class.")
    ],
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Files, and directories with all that is in them."),
    ] = None,
    alias: AliasesOption = None,
    ref: Annotated[
        list[str] | None,
        typer.Option(
            "--ref",
            metavar="ASSET[=LABEL]",
            autocompletion=complete_asset,
            help="What it was made from, and what that is to it.",
        ),
    ] = None,
    message: MessageOption = None,
    meta: MetaOption = None,
    meta_str: MetaStrOption = None,
    once: OnceOption = False,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Take files that look like secrets.")
    ] = False,
    code: CodeOption = None,
    new_store: NewStoreOption = False,
    extend: Annotated[
        str | None,
        typer.Option(
            "--extend",
            metavar="ASSET",
            autocompletion=complete_asset,
            help="Have this asset's other files, too.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="PATH", help="Leave a file or directory of it out."),
    ] = None,
    environment: Annotated[
        bool,
        typer.Option("--environment", help="Record the packages of the Python that runs ama."),
    ] = False,
    remote: RemoteOption = None,
) -> None:
    """Publish files without a worktree.

    A file is named as it is called; of a directory, what is in it is taken. Globs in quotes and
    commas between names are as with `ama add`. A symlink that is given stands for what it leads to.
    Nothing is kept here, and nothing is written beside the files.
    --alias, --ref, --meta and --without can be given several times.

    With --extend, the asset follows another one of its class, and has its files as far as they are
    not given or left out. They are neither read nor sent. If --alias is on that asset and moves on
    meanwhile, the files of both are kept.

    Example:
        ama publish sequence_models model.h5 model.yml --alias my_model -m "wider layers"
        ama publish sequence_models out --ref nlp_embeddings@my_training_inputs=inputs
        ama publish sequence_models out --meta loss=0.25 --once
        ama publish sequence_models meta.yml --extend sequence_models@my_model --alias my_model
    """
    from ama.publication import prepared

    if without and extend is None:
        raise typer.BadParameter("--without goes with --extend")
    if not paths and not without:
        raise typer.BadParameter("no file is given", param_hint="PATH")
    paths = expand_paths(paths or ())
    settings = _with_code_beside(load_settings(), paths[0] if paths else ".")
    url = settings.remote_url(remote)
    store = prepared(url, settings, terminal_progress(), new_store=new_store)
    result = store.publish(
        class_name,
        paths,
        aliases=alias or (),
        refs=_labels(ref or ()),
        metadata=parse_metadata(meta or (), meta_str or ()),
        message=message,
        once=once,
        code=code,
        environment=environment,
        force=force,
        extend=False if extend is None else _name_of(extend, remote),
        without=[path.rstrip("/") for path in without or ()],
    )
    report_upload(result, remote)
    for asset in result.published:
        note_guessed_author(settings, asset.author)
        note_no_code(settings, Path.cwd(), result.no_code)


def path(
    asset: Annotated[
        str,
        typer.Argument(
            metavar="ASSET[:PATH]",
            autocompletion=complete_asset_or_file,
            help="An asset by any of its names; with a path, a file or directory of it.",
        ),
    ],
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    remote: RemoteOption = None,
) -> None:
    """Print where an asset's files are on this machine.

    They are fetched if they are not here yet, verified, and shared by all that use them on this
    machine: nobody may write to them. For files to change: `ama download`. With --include or
    --exclude, the directory has only the files that were chosen. If the store can't be reached,
    what is here is used. Use the path soon: what wasn't used for long is deleted when the cache is
    full.

    Example:
        python train.py --data "$(ama path datasets@train)"
        ama path sequence_models/7:model.h5
        ama path sequence_models@my_model --include '*.yml'
    """
    name, colon, inside = partition_asset(asset)
    if colon and (include or exclude):
        raise typer.BadParameter("--include and --exclude go with an asset, not with a path of it")
    inside = path_in_asset(inside)
    name = name_in_store(name or "HEAD", remote)
    store = open_reached(remote)
    copy = store.local_copy(name, inside if colon else None, include or (), exclude or ())
    note_last_seen(store.away)
    warn_of_deprecated(copy.asset, copy.instead)
    if not console.report(copy):
        console.line(from_system(copy.path))


def _with_code_beside(settings: Settings, path: str) -> Settings:
    """Return settings that look for the code around what is published: no script is there."""
    place = Path(os.path.abspath(to_system(path)))
    return replace(settings, script_dir=place if place.is_dir() else place.parent)


def _name_of(asset: str, remote: str | None) -> str:
    # `@best` is an alias of the class that is published, not of the worktree around here.
    return asset if asset.startswith("@") else name_in_store(asset, remote)


def _labels(given: Iterable[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for name, _, label in (text.partition("=") for text in given):
        if labels.setdefault(name, label) != label:
            raise InvalidInput(f"{shown(name)} is given twice, with different labels")
    return labels
