"""The command that brings in what is there: import."""

from __future__ import annotations

import json
import os
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ama.cli.arguments import RemoteOption, expand_paths, is_here
from ama.cli.output import console, count, plain, size, terminal_progress, when_short
from ama.cli.rendering import note_guessed_author
from ama.cli.sharing import NewStoreOption, print_local_default
from ama.cli.targets import load_settings
from ama.errors import InvalidInput, NotFound, shown, storage_error
from ama.system import disk, fs
from ama.system.encoding import from_system, to_system
from ama.wording.hints import words

if TYPE_CHECKING:
    from ama.results import ImportResult
    from ama.store import Store

_SOME_FAILED = 1
_MLFLOW = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
}
_MOST_FAILURES = 20
_MOST_LOOKED_AT = 100
_GLOB = frozenset("*[")
_BEYOND = frozenset("*[/:")  # no class has one of these


def import_(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[CLASS] SOURCE...",
            help="The class, unless there are rules or a tool; then paths, URLs and globs. - reads"
            " them from the input, one a line.",
        ),
    ],
    tool: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TOOL",
            help="The tool whose repositories the sources are: dvc, hf, mlflow.",
        ),
    ] = None,
    rules: Annotated[
        str | None,
        typer.Option(
            "--rules", metavar="FILE", help="TOML that says which members become which assets."
        ),
    ] = None,
    alias: Annotated[
        str | None,
        typer.Option(
            "--alias",
            metavar="TEXT",
            help="The alias of each asset; {name} is the source's name without its suffix.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Publish nothing: show what would become what.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first source that can't be imported.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Read also what was imported before and has not changed."),
    ] = False,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Take files that look like secrets.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", metavar="N", help="Read with N processes of this machine."),
    ] = None,
    by_reference: Annotated[
        bool,
        typer.Option(
            "--by-reference",
            help="Leave content where it is: the store keeps where each file lies.",
        ),
    ] = False,
    report: Annotated[
        str | None,
        typer.Option("--report", metavar="FILE", help="Write what was done into a file, as JSON."),
    ] = None,
    new_store: NewStoreOption = False,
    remote: RemoteOption = None,
) -> None:
    """Bring in archives, directories and files that are there.

    An archive (zip, tar, tar.gz, tar.bz2, tar.xz, tar.zst) becomes what is in it. An asset was made
    when its source was written, unless rules say otherwise. Run it again: only sources that are new
    or were written again are read. A source that can't be imported is named and passed over; then
    the exit code is 1. With --by-reference, content that is no small file or document stays where
    it is, and is read from there.

    Example:
        ama import sequence_models '/mnt/models/*.zip' --alias '{name}'
        ama import --rules rules.toml 's3://old-models/**/*.zip' --dry-run
        ama import --from hf ~/.cache/huggingface/hub
        ama import --from mlflow http://localhost:5000
        ama import --from dvc ../repo
        ama import datasets /data/images --by-reference
        find /mnt/models -name '*.zip' | ama import sequence_models -
    """
    from ama.importing import import_assets
    from ama.importing.workers import processes
    from ama.publication import prepared
    from ama.system.memory import share_arenas

    share_arenas()
    has_class = rules is None and tool is None
    class_name, places = (arguments[0], arguments[1:]) if has_class else (None, arguments)
    if not places:
        raise typer.BadParameter("give a class and sources; or --rules FILE, or --from TOOL")
    if class_name is not None:
        _require_class(class_name)
    places = list(_places(places))
    if class_name is None and len(places) > 1:
        _require_no_class(places[0], "--from" if rules is None else "--rules")
    _note_archives(places, tool)
    if report is not None and Path(to_system(report)).is_dir():
        raise InvalidInput(f"{shown(report)} is a directory", hint="give a file for the report")
    if tool == "mlflow":
        _quiet_mlflow()
    text = None if rules is None else _text(rules)
    settings = load_settings()
    store = prepared(
        settings.remote_url(remote), settings, terminal_progress(), new_store=new_store
    )
    with nullcontext() if jobs is None else processes(jobs) as executor:
        result = import_assets(
            places,
            class_name,
            tool=tool,  # type: ignore[arg-type]
            store=store,
            rules=text,
            alias=alias,
            dry_run=dry_run,
            strict=strict,
            again=again,
            force=force,
            by_reference=by_reference,
            executor=executor,
            progress=terminal_progress(),
        )
    if report is not None:
        written = json.dumps(plain(result), ensure_ascii=False, indent=2) + "\n"
        fs.write_replace(to_system(report), written.encode())
    author = settings.author()
    if any(asset.author == author for asset in result.assets):
        # Of a dry run, too: then it is not too late.
        note_guessed_author(settings, author)
    if not console.report(result):
        _print(result)
        if class_name is not None and result.unchanged and not result.assets:
            _note_other_classes(store, class_name)
        if text is not None:
            _note_slips(text, result)
    if result.failed:
        raise typer.Exit(_SOME_FAILED)


def _quiet_mlflow() -> None:
    """Let MLflow print no bars, tell nobody of this, and give up on a server within a minute."""
    for name, value in _MLFLOW.items():
        os.environ.setdefault(name, value)


def _is_place(word: str) -> bool:
    """Tell whether a word is a path of something here, a URL or a glob."""
    return "://" in word or not _GLOB.isdisjoint(word) or is_here(word)


def _require_class(word: str) -> None:
    from ama.importing.archives import is_archive

    # What is here may be called as its class, but for a path and an archive.
    if _is_place(word) and (is_archive(word) or not _BEYOND.isdisjoint(word)):
        raise InvalidInput(
            f"{shown(word)} is a source, and no class is given",
            hint="the class comes first: ama import CLASS SOURCE...",
        )


def _require_no_class(word: str, option: str) -> None:
    from ama.importing.archives import is_archive

    if not (_is_place(word) or is_archive(word) or "/" in word):
        raise NotFound(
            f"{shown(word)}: there is nothing",
            hint=f"with {option} no class is given: leave it out",
        )


def _note_archives(places: list[str], tool: str | None) -> None:
    """Say of directories with archives in them that these stay as they are."""
    from ama.importing.archives import is_archive
    from ama.system.disk import is_directory, list_directory

    for place in places if tool is None else ():
        top = to_system(place)
        if not is_directory(top):
            continue
        below = [os.path.join(top, name) for name in list_directory(top)[:_MOST_LOOKED_AT]]
        for each in below[:_MOST_LOOKED_AT]:
            names = list_directory(each) if is_directory(each) else [each]
            found = next((name for name in names if is_archive(from_system(name))), None)
            if found is not None:
                suffix = from_system(found).rpartition(".")[2]
                glob = shlex.quote(os.path.join(place, "**", f"*.{suffix}"))
                console.note(
                    f"{shown(place)} becomes one asset, with the archives in it;"
                    f" to make an asset of each: {glob}"
                )
                break


def _note_other_classes(store: Store, class_name: str) -> None:
    if class_name not in {found.name for found in store.classes()}:
        console.note(
            f"nothing became of class {class_name}: all was imported before, as another class;"
            " to import it as this one, too: --again"
        )


def _note_slips(rules: str, result: ImportResult) -> None:
    """Say which rules found nothing in any source that was read: they may be misspelt."""
    for name, asked in result.never_found:
        console.warn(f"no source says {{{shown(asked)}}}, which a rule of {name} asks for")
    from ama.importing.rules import load_rules

    made = {asset.class_name for asset in result.assets}
    for rule in load_rules(rules).assets if made else ():
        if rule.class_name not in made:
            globs = ", ".join(rule.members or ("the rest",))
            console.note(f"nothing became of class {rule.class_name}: no source has {globs}")


def _text(rules: str) -> str:
    from ama.worktree.reader import nothing_at

    try:
        data = disk.read_file(to_system(rules))
    except OSError as error:
        raise storage_error(error, rules, doing="read") from error
    if data is None:
        raise nothing_at(Path(to_system(rules)))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{shown(rules)} isn't UTF-8") from error


def _places(arguments: list[str]) -> list[str]:
    places: list[str] = []
    for each in arguments:
        if each == "-":
            places += [line for line in sys.stdin.read().splitlines() if line.strip()]
        else:
            places += expand_paths([each], globs=False) if each else [each]
    if not places:
        raise InvalidInput("the input names no source")
    return places


def _print(result: ImportResult) -> None:
    rows = [
        [
            asset.name + (f"@{asset.alias}" if asset.alias and asset.number is None else ""),
            (asset.alias or "") if asset.number is not None else "",
            when_short(asset.created_at),
            count(asset.files, "file"),
            size(asset.size),
            asset.source,
        ]
        for asset in result.assets
    ]
    if rows and (result.dry_run or not console.quiet):
        console.table(["asset", "alias", "made", "files", "size", "source"], rows)
    for failed in result.failed[:_MOST_FAILURES]:
        hint = words(failed.hints)
        console.warn(f"{shown(failed.source)} was passed over: {failed.reason}")
        if hint:
            console.note(f"hint: {hint}")
    if len(result.failed) > _MOST_FAILURES:
        console.warn(f"{count(len(result.failed) - _MOST_FAILURES, 'more source')} passed over")
    done = "would become" if result.dry_run else "became"
    sources = len({asset.source for asset in result.assets})
    console.done(
        f"{count(sources, 'source')} {done} {count(len(result.assets), 'asset')};"
        f" {len(result.unchanged)} unchanged, {len(result.failed)} passed over"
    )
    if result.assets and not result.dry_run:
        new = "the new store " if result.store_created else ""
        console.done(f"sent {size(result.bytes_sent)} to {new}{result.remote}")
        print_local_default(result.local_default)
