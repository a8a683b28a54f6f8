"""`ama ref`: the links from this asset to those that it was made from."""

from __future__ import annotations

from typing import Annotated

import typer

from ama.cli.commands import new_group, register
from ama.cli.completion import complete_link
from ama.cli.output import console
from ama.cli.rendering import next_upload, ref_text
from ama.cli.targets import open_repo


def list_() -> None:
    """List what this asset was made from, and the links of the next upload.

    Example:
        ama ref list
    """
    repo = open_repo()
    head = repo.head and repo.resolve("HEAD")  # with the numbers of what it was made from
    staged = repo.refs()
    refs = head.refs if head is not None else ()
    if console.report({"head": refs, "staged": staged}):
        return
    if not (refs or staged):
        console.note("no refs; `ama link ASSET` adds one")
        return
    whose = [(head.name, ref) for ref in refs] if head is not None else []
    whose += [("next upload", ref) for ref in staged]
    rows = [(of, ref.name, ref.label, ", ".join(ref.aliases)) for of, ref in whose]
    console.table(("Asset", "Ref", "Label", "Aliases"), rows)


def remove(
    asset: Annotated[
        str,
        typer.Argument(
            metavar="ASSET",
            autocompletion=complete_link,
            help="A linked asset: class/7, class@alias, its class or alias alone, or an id.",
        ),
    ],
) -> None:
    """Take back a link of the next upload. Those of an asset are part of it, and stay.

    Example:
        ama link nlp_embeddings/3
        ama ref remove nlp_embeddings/3
    """
    repo = open_repo()
    ref = repo.unlink(asset)
    if console.report(ref):
        return
    console.done(f"removed ref {ref_text(ref)}")
    next_upload(repo)


app = new_group(
    "List and remove links to assets. `ama link ASSET` adds one.",
    "ama ref",
    "ama ref remove nlp_embeddings/3",
)
register(app, "list", list_)
register(app, "remove", remove)
