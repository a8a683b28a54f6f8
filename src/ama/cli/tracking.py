"""The commands that ask about many assets: find, compare, lineage."""

from __future__ import annotations

import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ama.cli.arguments import (
    AssetArgument,
    LimitOption,
    RemoteOption,
    byte_count,
    is_here,
    positive,
)
from ama.cli.completion import complete_asset, complete_asset_or_file, complete_class
from ama.cli.output import console, count, terminal_progress, when_short
from ama.cli.rendering import beginning
from ama.cli.reports import (
    CsvOption,
    MarkdownOption,
    print_comparison,
    print_leaderboard,
    print_rows,
    require_one_form,
)
from ama.cli.targets import name_in_store, open_store
from ama.system.encoding import to_system
from ama.wording import unread_text

if TYPE_CHECKING:
    from ama.catalog.values import Findings
    from ama.lineage.graph import Lineage


_SOME_FILES = 5

# Keys separated by commas; a comma in quotes is part of a key.
_KEYS = re.compile(r"(?:\"(?:[^\"\\]|\\.)*\"|[^,])+").findall

AsPublishedOption = Annotated[
    bool, typer.Option("--as-published", help="Leave out what was noted later.")
]

ClassOption = Annotated[
    str | None,
    typer.Option(
        "--class", metavar="CLASS", autocompletion=complete_class, help="Only this class."
    ),
]


def find(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            autocompletion=complete_asset_or_file,
            help="A file here, ASSET:PATH, or a hash as b3sum prints it.",
        ),
    ] = None,
    class_name: ClassOption = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="GLOB", help="The file's name there, or its path."),
    ] = None,
    alias: Annotated[
        str | None, typer.Option("--alias", metavar="GLOB", help="An alias that points to it.")
    ] = None,
    author: Annotated[
        str | None, typer.Option("--author", metavar="TEXT", help="Part of who made it.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Made then or later: 2026-11-02, or 3d."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Made before.")
    ] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option("--meta", metavar="CONDITION", help="On metadata: 'loss<0.3'. Repeatable."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            metavar="CONDITION",
            help="On metadata, or values in files: 'training.yml:learning_rate=0.001'. Repeatable.",
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="GLOB", help="A tag that was noted of it. Repeatable."),
    ] = None,
    as_published: AsPublishedOption = False,
    sort: Annotated[
        Literal["class", "created", "author"], typer.Option("--sort", help="What comes first.")
    ] = "class",
    reverse: Annotated[bool, typer.Option("--reverse", help="Turn the order round.")] = False,
    limit: LimitOption = None,
    csv: CsvOption = False,
    remote: RemoteOption = None,
) -> None:
    """Find the assets that hold a file, or fit conditions.

    A file is found by its content, under any name. All conditions must hold.

    Example:
        ama find model.yml
        ama find --class sequence_models --param 'learning_rate<=0.001' --sort created
    """
    from ama.errors import Hint, InvalidInput

    require_one_form(csv=csv)
    store = open_store(remote)
    texts = (class_name, name, alias, author, since, until)
    if file is None and not any((*texts, *(meta or ()), *(param or ()), *(tag or ()))):
        raise InvalidInput("nothing is given to find", hint=Hint("give-a-condition"))
    if file is not None and ":" in file:
        asset, _, path = file.partition(":")
        file = f"{name_in_store(asset, remote)}:{path}"
    found = store.find(
        Path(to_system(file)) if file is not None and is_here(file) else file,
        class_name=class_name,
        name=name,
        alias=alias,
        author=author,
        since=since,
        until=until,
        meta=meta or (),
        params=param or (),
        tags=tag or (),
        as_published=as_published,
        sort=sort,
        reverse=reverse,
        limit=limit,
    )
    for unread in found.unread:
        if not unread.file:
            console.warn(f"{unread_text(unread)}; it may belong here")
    if console.report(found):
        return
    if not found:
        console.note(_nothing_found(store.url, file))
        for what, unknowns in (("value called", found.unknown), ("tag", found.unknown_tags)):
            for unknown in unknowns:
                meant = f"; did you mean {' or '.join(unknown.near)}?" if unknown.near else ""
                console.note(f"no asset has a {what} {unknown.key}{meant}")
        _note_unread(found)
    elif not print_rows(found.rows(), csv=csv, markdown=False):
        _print_findings(found)


def _nothing_found(url: str, file: str | None) -> str:
    if file is None or not os.path.isfile(to_system(file)):
        return f"no asset in {url} fits"
    from ama.format.hashing import hash_file

    return f"no asset in {url} that fits holds {file} ({hash_file(to_system(file))[:10]})"


def _note_unread(findings: Findings) -> None:
    """Note the files that could not be read completely: they may hold what the user seeks."""
    files = dict.fromkeys((each.asset, each.file) for each in findings.unread if each.file)
    if not files:
        return
    named = [f"{asset}:{file}" for asset, file in beginning(list(files), _SOME_FILES)]
    if len(files) > len(named):
        named.append(f"and {len(files) - len(named):,} more")
    console.note(
        f"{count(len(files), 'file')} could not be read whole, and may say it: {', '.join(named)};"
        f" what is missing: ama show {next(iter(files))[0]}"
    )


def _print_findings(findings: Findings) -> None:
    paths = any(each.paths for each in findings)
    tags = any(each.tags for each in findings)
    rows = [
        (
            each.asset.name,
            *([path] if paths else []),
            ", ".join(each.asset.aliases),
            *([", ".join(each.tags)] if tags else []),
            each.asset.author.partition(" <")[0],
            when_short(each.asset.created_at),
            *(["deprecated"] if each.asset.status == "deprecated" else [""]),
        )
        for each in findings
        for path in (each.paths or ("",))
    ]
    found = ("Asset", *(["Path"] if paths else []), "Aliases", *(["Tags"] if tags else []))
    header = (*found, "Created By", "Created At (UTC)")
    if any(row[-1] for row in rows):
        console.table((*header, "Status"), rows, cut=range(1, 1 + len(found)))
    else:
        console.table(header, [row[:-1] for row in rows], cut=range(1, 1 + len(found)))


def compare(
    assets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ASSET...]", autocompletion=complete_asset, help="Two assets, or more."
        ),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="CLASS",
            autocompletion=complete_class,
            help="All assets of this class, side by side.",
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option("--sort", metavar="KEY", help="With --class: the best of this first."),
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Turn the order round.")] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns", metavar="KEY,...", help="With --class: what is shown. Repeatable."
        ),
    ] = None,
    limit: LimitOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what is the same.")] = False,
    as_published: AsPublishedOption = False,
    csv: CsvOption = False,
    markdown: MarkdownOption = False,
    remote: RemoteOption = None,
) -> None:
    """Show what differs between assets, or rank a class.

    Parameters, metrics, files, code and refs; with --class, the leaderboard of a class.
    A key may be the last parts of a longer one.

    Example:
        ama compare sequence_models@base sequence_models@finetuned
        ama compare --class sequence_models --sort val_loss --columns val_loss,learning_rate
    """
    require_one_form(csv=csv, markdown=markdown)
    if class_name is None:
        if sort or columns or limit or reverse:
            raise typer.BadParameter(
                "--sort, --columns, --reverse and -n rank a class; name it: --class CLASS"
            )
        names = [name_in_store(name, remote) for name in assets or ()]
        same_files = everything or console.json
        comparison = open_store(remote).compare(
            *names, same_files=same_files, as_published=as_published
        )
        for unread in comparison.unread:
            console.warn(unread_text(unread, whose=True))
        if console.report(comparison):
            return
        differing = comparison.differences or comparison.changed_files
        if not (differing or comparison.changed_packages or everything):
            console.note("no differences; --all shows what is the same")
            return
        if not print_rows(comparison.table(everything=everything), csv=csv, markdown=markdown):
            print_comparison(comparison, everything=everything)
        return
    if assets and columns and columns[-1].endswith(","):
        keys = "".join((columns[-1], *assets))
        raise typer.BadParameter(f"between the keys stand commas, no spaces: --columns {keys}")
    if assets:
        raise typer.BadParameter("--class compares all assets of a class: name none, or no --class")
    wanted = [key for each in columns or () for key in _KEYS(each) if key.strip()]
    board = open_store(remote).leaderboard(
        class_name,
        columns=wanted,
        sort=sort,
        reverse=reverse,
        limit=limit,
        as_published=as_published,
    )
    for unread in board.unread:
        console.warn(unread_text(unread))
    if console.report(board) or print_rows(board.table(), csv=csv, markdown=markdown):
        return
    print_leaderboard(board)


def lineage(
    asset: AssetArgument = "HEAD",
    up: Annotated[bool, typer.Option("--up", help="Only what it was made from.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Only what was made from it.")] = False,
    form: Annotated[
        Literal["tree", "mermaid", "dot", "svg", "json"],
        typer.Option("--format", metavar="FORM", help="tree, mermaid, dot, svg or json."),
    ] = "tree",
    limit: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--limit",
            metavar="NUMBER",
            callback=positive,
            help="Follow at most so many assets (default 1000).",
        ),
    ] = None,
    remote: RemoteOption = None,
) -> None:
    """Show what an asset was made from, and into what.

    Example:
        ama lineage sequence_models@my_model
        ama lineage sequence_models@my_model --down
        ama lineage sequence_models@my_model --format svg > lineage.svg
    """
    found = open_store(remote).snapshot().resolve(name_in_store(asset, remote))
    if up == down:
        graph = found.lineage(limit=limit)
    else:
        graph = found.upstream(limit=limit) if up else found.downstream(limit=limit)
    if console.json or form == "json":
        from ama.lineage.formats import as_mapping

        console.print_json(as_mapping(graph))
    elif form == "tree":
        from ama.lineage.formats import tree_lines

        for line in tree_lines(graph, up=up or not down, down=down or not up):
            console.line(line.text)
    else:
        console.text(_drawn(graph, form))


def _drawn(graph: Lineage, form: Literal["mermaid", "dot", "svg"]) -> str:
    if form == "svg":
        from ama.lineage.svg import svg

        return svg(graph)
    from ama.lineage.formats import dot, mermaid

    return mermaid(graph) if form == "mermaid" else dot(graph)


def dashboard(
    remote: RemoteOption = None,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="The port; 0: any free.")
    ] = 8640,
    host: Annotated[
        str,
        typer.Option("--host", metavar="H", help="Listen there; beyond this machine with a token."),
    ] = "127.0.0.1",
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    export: Annotated[
        str | None,
        typer.Option(
            "--export", metavar="DIR", help="Write the pages into a directory, or update."
        ),
    ] = None,
    files: Annotated[
        int,
        typer.Option(
            "--files",
            metavar="SIZE",
            parser=byte_count,
            help="With --export: files up to this size, such as 10MB, can be downloaded.",
        ),
    ] = 0,
) -> None:
    """Show a store's models and data in a browser.

    It only reads, and listens on this machine only unless told otherwise.

    Example:
        ama dashboard --open
        ama dashboard --remote gs://our-models/ama --port 9000
        ama dashboard --export site --files 10MB
    """
    from ama.errors import InvalidInput

    if files and export is None:
        raise InvalidInput("--files says which files an export has", hint="add --export DIR")
    store = open_store(remote)
    try:
        from ama.dashboard.application import serve
        from ama.dashboard.export import export as write
    except ImportError as error:
        raise InvalidInput(
            f"the packages of the dashboard aren't installed: there is no {error.name}",
            hint="install them, where ama's source is: pip install '.[dashboard]'",
        ) from error
    if export is not None:
        done = write(store, to_system(export), files=files, progress=terminal_progress())
        if not console.report({"directory": export, **asdict(done)}):
            console.done(
                f"wrote {count(done.pages, 'page')} and {count(done.files, 'file')} to {export}:"
                f" {done.changed:,} changed, {done.removed:,} gone; begin with index.html there"
            )
        return
    serving = serve(store, host=host, port=port, progress=terminal_progress())
    if not console.report({"url": serving.url, "token": serving.token, "address": serving.address}):
        console.line(f"{store.url} is shown at {serving.address}")
        console.note("end it with Ctrl-C")
    console.flush()
    if open_browser:
        import webbrowser

        webbrowser.open(serving.address)
    try:
        serving.run()
    except KeyboardInterrupt:  # the user ends the server so
        console.note("ended")
