"""`ama note`: what is known later of an asset, or of a class; and how `ama show` says it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ama.cli.arguments import (
    MetaOption,
    MetaStrOption,
    RemoteOption,
    parse_metadata,
)
from ama.cli.completion import complete_asset
from ama.cli.output import console, first_line, when
from ama.cli.rendering import beginning, print_field, print_fields, print_import, scalar_text
from ama.cli.targets import name_in_store, open_store
from ama.format.recorded import SOURCE
from ama.system.encoding import to_system
from ama.wording import note_parts

if TYPE_CHECKING:
    from ama.results import NoteResult
    from ama.store import Store
    from ama.values import Note, Noted


def note(
    asset: Annotated[
        str,
        typer.Argument(
            metavar="ASSET",
            autocompletion=complete_asset,
            help="class/7, class@alias, @alias (of the class here), an id, or HEAD; each with ~N."
            " A class alone is the class itself.",
        ),
    ],
    meta: MetaOption = None,
    meta_str: MetaStrOption = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="A tag to add. Repeatable.")
    ] = None,
    message: Annotated[
        str | None,
        typer.Option("-m", "--message", metavar="TEXT", help="Words; of a class its description."),
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="A file to keep with the note.")
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            "--remove", metavar="KEY_OR_TAG", help="What was noted, to take away. Repeatable."
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Add nothing if you have noted the same already.")
    ] = False,
    cat: Annotated[
        str | None, typer.Option("--cat", metavar="NAME", help="Print the newest noted file NAME.")
    ] = None,
    remote: RemoteOption = None,
) -> None:
    """Note what is known later of an asset, or of a class.

    Test results, approvals, links: the asset stays as it is, and everybody sees the note, who made
    it and when. Without options, it shows what was noted. -m for a class alone is the class's
    description, in Markdown; -m '' takes it away.

    Example:
        ama note sequence_models/7 --meta test_accuracy=0.91 --file report.json
        ama note sequence_models@my_model --tag approved -m "passed the integrity test"
        ama note sequence_models -m "Classifies sentences."
        ama note sequence_models/7
    """
    store, name = open_store(remote), name_in_store(asset, remote)
    wanted = (meta, meta_str, tag, file, remove)
    if cat is not None:
        if any(wanted) or message is not None:
            raise typer.BadParameter("--cat prints a file that is there, and notes nothing")
        _print_file(store, name, cat, asset)
        return
    if not any(wanted) and message is None:
        _print_notes(store, name, asset)
        return
    result = store.note(
        name,
        metadata=parse_metadata(meta or (), meta_str or ()),
        tags=[each.strip() for each in tag or ()],
        message=message,
        file=None if file is None else to_system(file),
        remove=[each.strip() for each in remove or ()],
        once=once,
    )
    if not console.report(result):
        console.done(_done_text(result))


def _done_text(result: NoteResult) -> str:
    note = result.note
    if note.asset is None:
        if not note.message:
            return f"{result.name} has no description any more"
        said = first_line(note.message)
        verb = "is described so already" if result.again else "is described"
        return f"{result.name} {verb}: {said}"
    verb = f"noted already, in entry {note.entry:,}" if result.again else "noted"
    return f"{verb}: {result.name}: {'; '.join(map(first_line, note_parts(note)))}"


def _print_file(store: Store, name: str, wanted: str, said: str) -> None:
    from ama.errors import Hint, NotFound, shown

    for each in reversed(store.notes(name)):
        if each.file is not None and each.file.path == wanted:
            sys.stdout.flush()
            for piece in store.note_file(each):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
    raise NotFound(
        f"no note of {shown(said)} has a file {shown(wanted)}", hint=Hint("show-notes", asset=said)
    )


def _print_notes(store: Store, name: str, said: str) -> None:
    noted = store.noted(name)
    if console.report(noted):
        return
    if not noted.notes:
        console.note(f"nothing was noted of {said}; ama note --help shows how")
    elif noted.notes[0].asset is not None:
        print_noted(noted, None)
    else:
        print_fields("Description", noted.message.strip().splitlines())
        print_fields("Said By", map(_description_line, noted.notes[::-1]))


def _description_line(note: Note) -> str:
    said = first_line(note.message) or "no description any more"
    return f"{when(note.at)}  {note.author}: {said}"


def print_noted(noted: Noted, limit: int | None) -> None:
    """Print what notes add up to, then each of them, the newest first.

    Args:
        noted: The notes.
        limit: The most notes and values; None: all.
    """
    newest = noted.notes[::-1]
    imports = [each for each in newest if SOURCE in each.metadata]
    if imports and limit is not None:
        print_import(imports[0])
        newest = tuple(each for each in newest if each not in imports)
    keys = list(dict.fromkeys(key for each in newest for key in each.metadata))
    known = [key for key in keys if key in noted.metadata]
    some = known if limit is None else beginning(known, limit)
    lines = [f"{key} = {scalar_text(noted.metadata[key])}" for key in some]
    print_fields("Noted", [*lines, *_more(len(known) - len(some))])
    if noted.tags:
        print_field("Tags", ", ".join(noted.tags))
    shown = newest if limit is None else beginning(newest, limit)
    lines = [line for each in shown for line in _note_lines(each)]
    print_fields("Notes", [*lines, *_more(len(newest) - len(shown))])


def _note_lines(note: Note) -> Iterator[str]:
    """Yield the lines of a note: when and who, then what it says."""
    yield f"{when(note.at)}  {note.author}"
    for part in note_parts(note):
        yield from (f"  {line}".rstrip() for line in part.splitlines())


def _more(number: int) -> list[str]:
    return [f"... and {number:,} more: --all"] if number > 0 else []
