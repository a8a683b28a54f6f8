"""What notebooks show of values, and the bar that they draw: in a kernel, and nowhere else."""

from __future__ import annotations

import html.parser
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import ama
from ama import notebook
from ama.catalog.values import MOST_ROWS, html_table
from ama.errors import StorageError
from ama.notebook import Bar, Lines, Rows, progress_here
from ama.storage.protocol import Range
from ama.system.progress import NO_PROGRESS
from ama.values import AssetInfo
from counting_storage import CountingStorage

HOSTILE = "<script>alert(1)</script>"


class Tables(html.parser.HTMLParser):
    """The cells of tables, by rows; it refuses any element that is none of a table."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag in {"table", "thead", "tbody", "tr", "th", "td"}, tag
        assert not attrs
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.rows[-1][-1] += data

    @property
    def cells(self) -> dict[str, str]:
        return {row[0]: row[1] for row in self.rows if len(row) == 2}


def shown(value: Any) -> Tables:
    return Tables(value._repr_html_())


@pytest.fixture
def store(tmp_path: Path) -> ama.Store:
    store = ama.Store.open(tmp_path / "store", create=True)
    files = {"model.h5": b"weights", "sub/x": b"x"}
    store.publish("models", files, aliases="best", metadata={"loss": 0.25}, message="first")
    store.publish("data", {"a": b"a"})
    store.publish("models", files, refs={"data/1": "inputs"})
    return store


# Values


def test_a_store(store: ama.Store) -> None:
    rows = shown(store).rows
    assert rows[:2] == [["store"], [store.url]]
    assert rows[2][:3] == ["class", "assets", "asset"]
    assert [row[:2] for row in rows[3:]] == [["data", "1"], ["models", "2"]]
    assert rows[4][2].startswith("models/2 (")


def test_an_asset(store: ama.Store) -> None:
    asset = store.resolve("models@best")
    found = shown(asset).cells
    assert found["asset"] == asset.info.name
    assert found["aliases"] == "best"
    assert found["message"] == "first"
    assert found["metadata: loss"] == "0.25"
    assert found["run: python"] == asset.run["python"]
    assert ["model.h5", "7 B", "file", asset.file("model.h5").id[:10]] in shown(asset).rows
    assert "data/1" in shown(store.resolve("models/2")).cells["ref: inputs"]
    store.deprecate("models/1", "old")
    assert shown(store.resolve("models/1")).cells["deprecated"] == "old"
    store.delete("models/1", reason="wrong", force=True)
    gone = shown(store.resolve("models/1"))
    assert gone.cells["deleted"] == "wrong"
    assert not any("model.h5" in row for row in gone.rows)


def test_lists_are_tables_and_stay_lists(store: ama.Store, tmp_path: Path) -> None:
    asset = store.resolve("models/2")
    lists: list[tuple[Sequence[Any], str]] = [
        (store.classes(), "data"),
        (store.assets("models"), "models/2"),
        (store.log("models"), "models/2"),
        (store.history("models"), "models/1"),
        (store.files("models"), "model.h5"),
        (asset.files(), "sub/x"),
        (asset.files("sub"), "sub/x"),
        (asset.entries(), "sub/"),
        (asset.refs(), "ama.Asset data/1"),
    ]
    for values, text in lists:
        assert any(text in cell for row in shown(values).rows for cell in row)
        assert isinstance(values, tuple if isinstance(values, Rows) else list)
        plain = tuple(values) if isinstance(values, tuple) else list(values)
        assert values == plain
        assert repr(values) == repr(plain)
        assert len(pickle.loads(pickle.dumps(values))) == len(values)
        assert type(pickle.loads(pickle.dumps(values))) is type(values)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "x").write_text("x")
    repo = ama.Repo.init(tmp_path / "work", "models")
    repo.add("x")
    repo.upload(remote=store.url)
    for found in (repo.log(), repo.files(), repo.assets("models"), repo.history("models")):
        assert len(shown(found).rows) == len(found) + 1
    assert shown(Rows([])).rows == [[]]
    assert shown(Lines([1, "a", store.aliases()[0]])).rows[1][:1] == ["1"]


def test_hostile_texts_are_texts(tmp_path: Path) -> None:
    store = ama.Store.open(tmp_path / "store", create=True)
    store.publish(
        "models",
        {"&amp;\u202e": b"x"},
        metadata={HOSTILE: HOSTILE * 1000},
        message=f"{HOSTILE}\x1b]0;x\x07",
    )
    asset = store.resolve("models")
    for value in (store, asset, store.assets("models"), asset.files(), asset.summary()):
        page = value._repr_html_()
        Tables(page)  # it refuses other elements
        assert not any(sign in page for sign in ("\x1b", "\x07", "\u202e"))
        assert len(page) < 10_000
    assert shown(asset).cells["message"].startswith(HOSTILE)


def test_tables_are_bounded(tmp_path: Path) -> None:
    rows = Tables(html_table([{"a": n} for n in range(MOST_ROWS + 5)])).rows
    assert (len(rows), rows[-1]) == (MOST_ROWS + 2, ["… 5"])
    many = Rows(range(MOST_ROWS + 7))
    assert shown(many).rows[-1] == ["… 7"]
    store = ama.Store.open(tmp_path / "store", create=True)
    store.publish("models", {f"{n:03}": b"x" for n in range(200)})
    files = [row for row in shown(store.resolve("models")).rows if row[-1:] and len(row) == 4]
    assert len(files) == 1 + notebook.MOST_FILES + 1
    for number in range(notebook.MOST_CLASSES + 3):
        store.publish(f"class-{number}", {"x": b"x"})
    assert shown(store).rows[-1] == ["… 4"]


class Far(CountingStorage):
    """A storage that counts as one behind a network, which may be away."""

    away = False

    @property
    def across_network(self) -> bool:
        return True

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        if self.away:
            raise StorageError(f"{self.url} can't be reached: <b>", retryable=True)
        return super().read(ranges)


def test_nothing_is_asked_of_a_network(
    store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Far(store.remote.storage)
    monkeypatch.setattr("ama.store.open_storage", lambda *args: far)
    monkeypatch.setenv("AMA_CACHE_DIR", str(tmp_path / "another"))
    seen = ama.Store.open(store.url)
    far.reset()
    assert shown(seen).rows == [["store"], [store.url]]
    then = seen.snapshot()
    asset = seen.resolve("models@best")
    far.reset()
    assert shown(asset).rows == [[""], [repr(asset)]]
    assert [row[:2] for row in shown(seen).rows[3:]] == [["data", "1"], ["models", "2"]]
    assert far.round_trips == 0
    assert asset.info.number == 1
    assert asset.files()
    seen.classes()
    far.reset()
    far.away = True
    assert shown(asset).cells["metadata: loss"] == "0.25"
    assert any("model.h5" in row for row in shown(asset).rows)
    assert shown(seen).rows[4][2].startswith("models/2 (")
    assert shown(then).rows[4][1] == "2"
    assert far.round_trips == 0
    far.away = False
    store.publish("models", {"new": b"x"})
    seen.classes()
    assert shown(seen).rows[4][1] == "3"
    assert shown(then).rows == [["store"], [store.url]]  # of that moment, nothing is remembered


def test_a_store_that_is_gone_is_a_line(store: ama.Store, tmp_path: Path) -> None:
    asset = store.resolve("models")
    (tmp_path / "store").rename(tmp_path / "moved")
    for value in (store, asset):
        rows = shown(value).rows
        assert store.url in "".join(cell for row in rows for cell in row)
    assert shown(store).rows[0] == ["store", "error"]


# The bar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the bar, which tests move."""
    now = [100.0]
    monkeypatch.setattr("ama.notebook.time.monotonic", lambda: now[0])
    return now


def test_the_bar(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    bar = Bar()
    bar.start("quick", 100)
    bar.advance(100)
    bar.finish()
    assert out.getvalue() == ""
    bar.start("sending\x1b[2J", 4_000_000)
    bar.skip(2_000_000)
    clock[0] += 1
    bar.advance(500_000)
    bar.advance(500_000)  # too soon to be drawn again
    assert out.getvalue().count("\r") == 1
    clock[0] += 1
    bar.advance(1_000_000)
    bar.finish()
    lines = out.getvalue().split("\r")
    assert "] 100% of 2.0 MB" in lines[-1]
    assert lines[-1].endswith("\n")
    assert "\x1b" not in out.getvalue()
    out.truncate(0)
    bar.start("reading", None)
    clock[0] += 1
    bar.advance(7)
    bar.start("more", 0)
    bar.finish()
    assert "\rreading: 7 B" in out.getvalue()


def test_a_bar_only_where_nothing_is_given_and_only_in_a_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = Bar()
    assert progress_here(given) is given
    assert progress_here(None) is NO_PROGRESS
    assert progress_here(NO_PROGRESS) is NO_PROGRESS
    monkeypatch.setattr("ama.notebook.kernel_shell", lambda: object())
    assert isinstance(progress_here(None), Bar)
    assert progress_here(NO_PROGRESS) is NO_PROGRESS


CELLS = (
    """
import ama, ama.notebook, time
ama.notebook.PATIENCE_S = ama.notebook.REFRESH_S = 0.0
files = {f"{n}.bin": bytes([n]) * 2_000_000 for n in range(8)}
done = ama.publish("models", files, store=STORE, aliases="best", message="<b>from a notebook</b>")
""",
    "store = ama.Store.open(STORE)\nstore",
    "store.resolve('models@best')",
    "store.assets('models')",
    "store.download('models@best', 'copy').files",
    "from ama.system.progress import NO_PROGRESS\n"
    "ama.Store.open(STORE, progress=NO_PROGRESS).download('models@best', 'again').files",
    "store.resolve('models@best').run",
    """
import asyncio, pandas
async def inside():
    return len(store.resolve("models@best").read("3.bin"))
await inside(), asyncio.get_running_loop().is_running()
""",
)


def texts(cell: Any, kind: str) -> str:
    return "".join(out.get("text", "") for out in cell.outputs if out.output_type == kind)


def data_of(cell: Any, kind: str) -> str:
    (result,) = [out for out in cell.outputs if out.output_type == "execute_result"]
    return str(result.data[kind])


@pytest.mark.filterwarnings("ignore")  # of the client, which runs in this process
def test_a_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "train.ipynb"))
    first = f"STORE = {str(tmp_path / 'store')!r}"
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in (first, *CELLS)]
    page = nbformat.v4.new_notebook(cells=cells)
    place = tmp_path / "cells"
    place.mkdir()
    client = NotebookClient(page, timeout=120, kernel_name="python3")
    client.execute(cwd=str(place))
    _, published, store, asset, assets, fetched, silent, run, inside = page.cells
    assert "] 100% of" in texts(published, "stream")
    assert "models" in data_of(store, "text/html")
    assert "&lt;b&gt;from a notebook&lt;/b&gt;" in data_of(asset, "text/html")
    assert "<th>aliases</th>" in data_of(assets, "text/html")
    assert "100%" in texts(fetched, "stream")
    assert data_of(fetched, "text/plain") == data_of(silent, "text/plain") == "8"
    assert texts(silent, "stream") == ""
    told = data_of(run, "text/plain")
    assert str(tmp_path / "train.ipynb") in told
    assert "kernel" not in told
    assert data_of(inside, "text/plain") == "(2000000, True)"


OUTSIDE = """
import sys, ama, ama.notebook
ama.notebook.PATIENCE_S = ama.notebook.REFRESH_S = 0.0
if sys.argv[2] == "ipython":
    import IPython
    from IPython.terminal.interactiveshell import TerminalInteractiveShell
    TerminalInteractiveShell.instance()
store = ama.publish("models", {"a": b"x" * 3_000_000}, store=sys.argv[1])
ama.Store.open(sys.argv[1]).download("models", "copy")
assert ("IPython" in sys.modules) == (sys.argv[2] == "ipython")
"""


@pytest.mark.parametrize("how", ["plain", "ipython"])
def test_nothing_is_printed_elsewhere(tmp_path: Path, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OUTSIDE, str(tmp_path / "store"), how],
        cwd=tmp_path,
        env={**os.environ, "IPYTHONDIR": str(tmp_path / "ipython")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_values_say_no_sentences() -> None:
    """An `AssetInfo` alone has no table of its own: what holds it has."""
    assert not hasattr(AssetInfo, "_repr_html_")
