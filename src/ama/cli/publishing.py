"""The command that publishes files without a worktree: publish."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from ama.cli.arguments import (
    AliasesOption,
    CodeOption,
    MessageOption,
    MetaOption,
    MetaStrOption,
    OnceOption,
    RemoteOption,
    parse_metadata,
)
from ama.cli.completion import complete_asset, complete_class
from ama.cli.output import terminal_progress
from ama.cli.rendering import note_guessed_author, note_no_code
from ama.cli.sharing import NewStoreOption, report_upload
from ama.cli.targets import load_settings
from ama.errors import InvalidInput, shown


def publish(
    class_name: Annotated[
        str, typer.Argument(metavar="CLASS", autocompletion=complete_class, help="Its class.")
    ],
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Files, and directories with all that is in them."),
    ],
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
    remote: RemoteOption = None,
) -> None:
    """Publish files without a worktree.

    A file is named as it is called; of a directory, what is in it is taken. A symlink that is given
    stands for what it leads to. Nothing is kept here, and nothing is written beside the files.
    --alias, --ref and --meta can be given several times.

    Example:
        ama publish sequence_models model.h5 model.yml --alias my_model -m "wider layers"
        ama publish sequence_models out --ref nlp_embeddings@my_training_inputs=inputs
        ama publish sequence_models out --meta loss=0.25 --once
    """
    from ama.publication import prepared

    settings = load_settings()
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
        force=force,
    )
    report_upload(result, remote)
    for asset in result.published:
        note_guessed_author(settings, asset)
        note_no_code(settings, Path.cwd(), result.no_code)


def _labels(given: Iterable[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for name, _, label in (text.partition("=") for text in given):
        if labels.setdefault(name, label) != label:
            raise InvalidInput(f"{shown(name)} is given twice, with different labels")
    return labels
