"""The form of values, comparisons and summaries in the terminal, as CSV and as Markdown."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ama.cli.output import console, plain, size, when_short
from ama.cli.rendering import beginning
from ama.errors import shown
from ama.wording import unread_text

if TYPE_CHECKING:
    from ama.catalog.documents import Value
    from ama.catalog.unread import Unread
    from ama.catalog.values import Code, Comparison, Fact, FileRow, Leaderboard, Row

CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV, every row and column.")]
MarkdownOption = Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")]

_LONGEST = 60
_LONGEST_COMMAND = 300
_SHOWN_ITEMS = 4

_TITLES: Mapping[str, str] = {
    "parameter": "Parameters",
    "metric": "Metrics",
    "code": "Code",
    "data": "Data",
    "run": "Run",
    "other": "Other",
    "metadata": "Metadata",
    "ref": "Refs",
    "asset": "Asset",
}


def require_one_form(*, csv: bool, markdown: bool = False) -> None:
    """Refuse more than one output form: the second would be ignored."""
    forms = {"--json": console.json, "--csv": csv, "--markdown": markdown}
    named = [name for name, wanted in forms.items() if wanted]
    if len(named) > 1:
        raise typer.BadParameter(f"{named[0]} and {named[1]} exclude each other")


def print_rows(rows: Sequence[Mapping[str, object]], *, csv: bool, markdown: bool) -> bool:
    """Print flat rows as CSV or Markdown if the user asked for it; return whether so.

    Args:
        rows: The cells of each row, by column.
        csv: Whether to print CSV, in full.
        markdown: Whether to print a Markdown table.
    """
    if not (csv or markdown):
        return False
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not rows:
        console.note("nothing to show")
    elif csv:
        import csv as written

        writer = written.writer(sys.stdout, lineterminator="\n")
        lines = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
        if sys.stdout.isatty():  # a terminal would obey control characters; a file keeps them
            lines = [list(map(shown, line)) for line in lines]
        writer.writerows(lines)
    else:
        cells = ([_report_cell(row.get(name)) for name in names] for row in rows)
        for row in (names, ["---"] * len(names), *cells):
            console.line(f"| {' | '.join(map(_in_markdown, row))} |")
    return True


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        import json

        return json.dumps(plain(value), ensure_ascii=False)
    return str(plain(value))


def _report_cell(value: object) -> str:
    """Format a cell for people: the last value of a history, a time to the minute, few digits."""
    if isinstance(value, tuple):
        return value_text(value)
    if isinstance(value, datetime):
        return f"{when_short(value)} UTC"
    return f"{value:.6g}" if isinstance(value, float) else _cell(value)


def _in_markdown(text: str) -> str:
    """Escape a cell, so that Markdown treats all of it as text."""
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, f"\\{mark}") if mark != "<" else text.replace("<", "&lt;")
    return " ".join(text.split()) if text != "---" else text


def value_text(value: Value) -> str:
    """Format a value on one line; a long list as its length and its last item.

    Example:
        >>> value_text((0.9, 0.5, 0.4, 0.35, 0.3))
        '5 values, last 0.3'
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        if len(value) > _SHOWN_ITEMS:
            return f"{len(value)} values, last {value_text(value[-1])}"
        return f"[{', '.join(map(value_text, value))}]"
    text = " ".join(str(value).split()) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def where_text(source: str, file: str) -> str:
    """Format the place of a value: its file, and the ref that has the file."""
    return ": ".join(filter(None, (source, file)))


def code_text(code: Code) -> str:
    """Format the code of an asset on one line: `repository @ commit (branch, clean)`."""
    state = {True: "dirty", False: "clean", None: None}[code.dirty]
    about = ", ".join(filter(None, (code.branch, state)))
    named = " @ ".join(filter(None, (code.repository, code.commit)))
    return f"{named} ({about})" if about else named


def run_lines(run: Mapping[str, str], *, whole: bool) -> Iterable[str]:
    """Format what is recorded of a run: the command, then where it ran, then with what.

    Args:
        run: What is recorded.
        whole: Whether to print a long command as a whole.
    """
    command = " ".join(run.get("command", run.get("notebook", "")).split())
    if command:
        fits = whole or len(command) <= _LONGEST_COMMAND
        yield command if fits else f"{command[: _LONGEST_COMMAND - 1]}…"
    place = [f"in {run['directory']}"] if "directory" in run else []
    place += [f"on {run['host']}"] if "host" in run else []
    if place:
        yield " ".join(place)
    system = [f"Python {run['python']}"] if "python" in run else []
    system += [run["platform"]] if "platform" in run else []
    if system:
        yield ", ".join(system)


def fact_lines(facts: Sequence[Fact], limit: int | None) -> Iterable[str]:
    """Format facts as `key = value` lines, grouped by file, with a count of those beyond a limit.

    Args:
        facts: The facts.
        limit: The most facts; None for all.
    """
    # Put first what people ask for first: single values, then histories, then lists of tables.
    ordered = sorted(facts, key=lambda fact: (_in_list(fact.key), isinstance(fact.value, tuple)))
    some = ordered if limit is None else beginning(ordered, limit)
    place = None
    for fact in some:
        if (fact.source, fact.file) != place:
            place = fact.source, fact.file
            if any(place):
                yield f"{where_text(*place)}"
        indent = "  " if any(place) else ""
        yield f"{indent}{fact.key} = {value_text(fact.value)}"
    if len(some) < len(facts):
        yield f"... and {len(facts) - len(some):,} more: --all"


def unread_lines(unread: Sequence[Unread], limit: int | None) -> Iterable[str]:
    """Describe what could not be read, one on each line, with a count of those beyond a limit.

    Args:
        unread: The files and values that could not be read.
        limit: The most lines; None for all.
    """
    some = unread if limit is None else beginning(unread, limit)
    yield from map(unread_text, some)
    if len(some) < len(unread):
        yield f"... and {len(unread) - len(some):,} more: --all"


def _in_list(key: str) -> bool:
    return any(part.isdigit() for part in key.split("."))


def print_comparison(comparison: Comparison, *, everything: bool) -> None:
    """Print the differences between assets, section by section.

    Args:
        comparison: The comparison.
        everything: Whether to print what is the same, too.
    """
    two = len(comparison.assets) == 2
    header = ["", *(_short_name(asset.name, asset.aliases) for asset in comparison.assets)]
    header += [*(["Difference"] if two else []), "Where"]
    rows = comparison.rows if everything else comparison.differences
    table: list[list[str]] = [header]
    titles: set[int] = set()
    section = None
    for row in rows:
        if row.role != section:
            section = row.role
            titles.add(len(table))
            table.append([_TITLES[row.role], *[""] * (len(header) - 1)])
        table.append(_comparison_cells(row, two))
    packages = _package_rows(comparison, everything=everything)
    if packages:
        titles.add(len(table))
        table.append(["Packages", *[""] * (len(header) - 1)])
        table += packages
    files = comparison.files if everything else comparison.changed_files
    if files:
        titles.add(len(table))
        table.append(["Files", *[""] * (len(header) - 1)])
        table += [_file_cells(row, two) for row in files]
    console.columns(table, bold=frozenset({0, *titles}), cut=range(len(header)))
    _explain_marks(row.entries for row in rows)


def _package_rows(comparison: Comparison, *, everything: bool) -> list[list[str]]:
    """Return the packages that differ, below how many each asset had where that says something."""
    two = len(comparison.assets) == 2
    rest = ["", ""] if two else [""]
    rows = comparison.packages if everything else comparison.changed_packages
    found = [
        [f"  {row.name}", *("-" if v is None else v for v in row.versions)]
        + ([row.kind if row.kind != "same" else "", ""] if two else [""])
        for row in rows
    ]
    counts = comparison.environments
    if any(each is not None for each in counts) and (found or None in counts):
        number = ["not recorded" if each is None else str(each) for each in counts]
        found.insert(0, ["  number", *number, *rest])
    return found


def _short_name(name: str, aliases: Sequence[str]) -> str:
    return " ".join((name.partition(" (")[0], *(f"@{alias}" for alias in aliases[:1])))


def _comparison_cells(row: Row, two: bool) -> list[str]:
    cells = [f"  {row.key}", *_marked(row.values, row.entries)]
    if two:
        cells.append(_difference_text(row))
    return [*cells, where_text(row.source, row.file)]


def _marked(values: Sequence[Value], entries: Sequence[int | None]) -> list[str]:
    """Format values on one line each, with a mark behind those that were noted later."""
    marks = ["*" if entry else "" for entry in entries] or [""] * len(values)
    return [value_text(value) + mark for value, mark in zip(values, marks, strict=True)]


def _explain_marks(entries: Iterable[Sequence[int | None]]) -> None:
    if any(map(any, entries)):
        console.note("* noted later: ama note ASSET shows by whom; --as-published leaves it out")


def _difference_text(row: Row) -> str:
    if row.difference is None or row.same:
        return ""
    text = f"{row.difference:+.6g}"
    if row.better is None:
        return text
    return f"{text} ({'better' if row.better else 'worse'})"


def _file_cells(row: FileRow, two: bool) -> list[str]:
    cells = [f"  {row.path}"]
    cells += ["-" if file is None else f"{size(file.size)} {file.id[:7]}" for file in row.files]
    if two:
        cells.append(row.kind if row.kind != "same" else "")
    return [*cells, f"was {row.old_path}" if row.old_path else ""]


def _short(names: Sequence[str]) -> list[str]:
    """Shorten keys to their last parts, as `--columns` takes them, if that leaves no two equal."""
    from ama.catalog.documents import split_key

    lasts = [split_key(name)[-1] for name in names]
    return [last if lasts.count(last) == 1 else n for n, last in zip(names, lasts, strict=True)]


def print_leaderboard(board: Leaderboard) -> None:
    """Print the assets of a class side by side."""
    tags = any(row.tags for row in board.rows)
    named = ("Asset", "Aliases", *(["Tags"] if tags else []))
    header = (*named, *_short(board.column_names()), "Created By", "Created At (UTC)")
    rows = [
        (
            row.asset.name,
            ", ".join(row.asset.aliases),
            *([", ".join(row.tags)] if tags else []),
            *_marked(row.values, row.entries),
            row.asset.author.partition(" <")[0],
            when_short(row.asset.created_at),
        )
        for row in board.rows
    ]
    last = len(header) - 1
    right = frozenset(range(len(named), last - 1))
    console.table(header, rows, right=right, cut=(*range(1, len(named)), last - 1))
    _explain_marks(row.entries for row in board.rows)
