"""How values look: sizes, times, tables, JSON, and the progress bar."""

from __future__ import annotations

import io
import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ama.cli import output
from ama.cli.output import Console, console, count, first_line, plain, size, when
from ama.cli.rendering import (
    alias_change_text,
    changes_summary,
    metadata_lines,
    print_asset_table,
    print_changes,
)
from ama.cli.reports import print_rows
from ama.results import AliasChange
from ama.system.progress import NO_PROGRESS
from ama.values import AssetInfo, Change, Ref

MOMENT = datetime(2026, 11, 23, 4, 24, 36, 120, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (636_144, "636.1 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (5 * 10**12, "5.0 TB"),
        (5 * 10**15, "5.0 PB"),
        (None, "-"),
    ],
)
def test_size(number: int | None, text: str) -> None:
    assert size(number) == text


def test_words() -> None:
    assert when(MOMENT) == "2026-11-23 03:24:36 UTC"
    assert [count(n, "file") for n in (0, 1, 20_000)] == ["0 files", "1 file", "20,000 files"]
    assert count(2, "alias") == "2 aliases"
    assert first_line("\n one \ntwo") == "one"
    assert metadata_lines({"b": True, "a": 0.5}) == ["a = 0.5", "b = true"]


def test_json_of_values() -> None:
    info = AssetInfo(
        id="ab" * 32,
        class_name="models",
        tree="cd" * 32,
        author="Ann",
        created_at=MOMENT,
        message="",
        number=7,
        refs=(Ref("ef" * 32, "data", "inputs"),),
        metadata={"lr": 0.1},
    )
    shown = plain({"asset": info, "path": Path("x"), "list": [1, None]})
    assert json.loads(json.dumps(shown)) == shown
    assert isinstance(shown, dict)
    assert shown["path"] == "x"
    assert shown["asset"]["created_at"] == "2026-11-23T03:24:36.000120Z"
    assert shown["asset"]["name"] == "models/7 (ababababab)"
    assert shown["asset"]["metadata"] == {"lr": 0.1}
    assert shown["asset"]["refs"][0]["name"] == "data (efefefefef)"


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    Console().line("a\x1b[31mb\nc\u202e\x9b")
    assert capsys.readouterr().out == "a\\x1b[31mb\\nc\\u202e\\x9b\n"
    Console().columns([("a\n", "b"), ("ccc", "d")])
    assert capsys.readouterr().out == "a\\n  b\nccc  d\n"


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table(("Class", "Assets"), [("models", "12"), ("m", "3")], right=frozenset({1}))
    assert capsys.readouterr().out == "Class   Assets\nmodels      12\nm            3\n"
    Console().columns([])
    assert capsys.readouterr().out == ""


def test_json_mode_prints_no_lines(capsys: pytest.CaptureFixture[str]) -> None:
    own = Console()
    own.json = True
    own.line("line")
    own.done("done")
    own.note("note")
    own.next_step("next")
    assert own.report({"a": 1})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": 1}
    assert captured.err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_only_on_a_terminal_and_never_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("WT_SESSION", "1")
    for no_color, expected in (("", "\x1b[1mx\x1b[0m\n"), ("1", "x\n")):
        monkeypatch.setenv("NO_COLOR", no_color)
        stream = Terminal()
        monkeypatch.setattr(sys, "stdout", stream)
        Console().line("x", "bold")
        assert stream.getvalue() == expected


def test_csv_is_as_it_is_in_a_file_and_harmless_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed = []
    for stream in (io.StringIO(), Terminal()):
        monkeypatch.setattr(sys, "stdout", stream)
        assert print_rows([{"message": "\x1b[2J", "loss": 0.5}], csv=True, markdown=False)
        printed.append(stream.getvalue().splitlines()[1])
    assert printed == ["\x1b[2J,0.5", "\\x1b[2J,0.5"]


def test_a_row_ends_with_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    Console().columns([("a" * 30, "b" * 30)])
    (line,) = stream.getvalue().splitlines()
    assert len(line) == 50
    assert line.endswith("…")


def test_a_text_without_room_goes_below_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("models/1", "first training"), ("models/2", "")]
    header = ("Asset", "Message")
    printed = []
    for columns in ("80", "45", "40"):
        monkeypatch.setenv("COLUMNS", columns)
        stream = Terminal()
        monkeypatch.setattr(sys, "stdout", stream)
        wide = [("models/1" + " " * 24, "first training"), ("models/2", "")]
        Console().table(header, rows if columns == "80" else wide, spill=True)
        printed.append([line.rstrip() for line in stream.getvalue().splitlines()])
    assert printed[0] == ["Asset     Message", "models/1  first training", "models/2"]
    below = ["Asset", "    Message", "models/1", "    first training", "models/2"]
    assert printed[1] == printed[2] == below


def test_changes(capsys: pytest.CaptureFixture[str]) -> None:
    changes = (
        Change("model.h5", "added", new_size=2000),
        Change("a", "modified", 10, 1500),
        Change("b", "modified", 10, 10),
        Change("e", "modified", 20_000_000, 20_000_001),
        Change("c", "removed", old_size=3),
        Change("d", "mode", 3, 3),
    )
    print_changes(changes)
    assert capsys.readouterr().out.splitlines() == [
        "added     model.h5  2.0 kB",
        "modified  a         10 B -> 1.5 kB",
        "modified  b         10 B",
        "modified  e         20.0 MB",
        "removed   c         3 B",
        "mode      d         executable bit",
    ]
    assert changes_summary(changes) == "1 added, 3 modified, 1 removed, 1 changed mode"
    assert changes_summary(()) == "no changes"


def test_one_line_is_not_left_out_for_a_line_that_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number, last in ((4, "added     3"), (5, "... and 2 more")):
        print_changes([Change(str(n), "added") for n in range(number)], limit=3)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 4
        assert lines[-1].startswith(last)


def asset(number: int, author: str, message: str) -> AssetInfo:
    alias = ("production",) if number == 1 else ()
    return AssetInfo("a1" * 32, "resnet", "b" * 64, author, MOMENT, message, 1, number, alias)


def test_assets_in_a_narrow_window(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "trained on twice the images, with the learning rate of the last but one"
    assets = [asset(1, "Ann Elizabeth Featherstone <a@b.org>", text), asset(2, "Bo <b@c>", "")]
    printed = {}
    for columns in ("80", "60", "110"):
        monkeypatch.setenv("COLUMNS", columns)
        stream = Terminal()
        monkeypatch.setattr(sys, "stdout", stream)
        print_asset_table(assets)
        printed[columns] = stream.getvalue().splitlines()
    assert printed["110"][1].endswith("  2026-11-23 03:24  trained on twice the images,…")
    assert printed["80"] == [
        "Asset                  Aliases     Created By                  Created At (UTC)",
        "    Message",
        "resnet/1 (a1a1a1a1a1)  production  Ann Elizabeth Featherstone  2026-11-23 03:24",
        "    trained on twice the images, with the learning rate of the last but one",
        "resnet/2 (a1a1a1a1a1)              Bo                          2026-11-23 03:24",
    ]
    assert printed["60"][2] == "resnet/1 (a1a1a1a1a1)  product…  Ann Eli…  2026-11-23 03:24"
    assert all(len(line) <= 60 for line in printed["60"])


def test_alias_changes() -> None:
    one, two = "1" * 64, "2" * 64
    texts = [
        alias_change_text(AliasChange("m", "best", *change))
        for change in (
            (None, one, None, 1),
            (one, two, 1, 2),
            (one, one, 1, 1),
            (two, None, 2, None),
        )
    ]
    assert texts == [
        "alias m@best is new: m/1 (1111111111)",
        "alias m@best moved from m/1 (1111111111) to m/2 (2222222222)",
        "alias m@best stays at m/1 (1111111111)",
        "removed alias m@best, which was m/2 (2222222222)",
    ]


def stderr_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Makes stderr a terminal; pytest sets stderr anew for each test, so no fixture can."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    return stream


def test_progress_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr_terminal(monkeypatch)
    assert isinstance(output.terminal_progress(), output.TerminalProgress)
    monkeypatch.setattr(console, "quiet", True)
    assert output.terminal_progress() is NO_PROGRESS
    monkeypatch.setattr(console, "quiet", False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert output.terminal_progress() is NO_PROGRESS


def test_short_work_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = stderr_terminal(monkeypatch)
    bar = output.TerminalProgress()
    bar.start("hashing", 1000)
    bar.advance(1000)
    bar.finish()
    assert terminal.getvalue() == ""


def test_long_work_draws_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = stderr_terminal(monkeypatch)
    monkeypatch.setattr(output, "PATIENCE_S", 0.0)
    monkeypatch.setattr(output, "_REFRESH_S", 0.0)
    bar = output.TerminalProgress()
    bar.start("hashing [red]", 3_000_000)
    bar.advance(1_500_000)
    bar.advance(500_000)
    bar.finish()
    drawn = terminal.getvalue()
    assert "hashing [red]" in drawn
    assert "2.0/3.0 MB" in drawn
    bar.finish()


@pytest.mark.parametrize(
    ("number", "shown"),
    [(float("nan"), "NaN"), (float("inf"), "Infinity"), (-float("inf"), "-Infinity"), (0.5, 0.5)],
)
def test_a_metric_that_is_no_number_is_a_text_in_json(number: float, shown: object) -> None:
    assert plain({"loss": number}) == {"loss": shown}
