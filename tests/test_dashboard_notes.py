"""Notes on pages: what was noted of assets and classes, and what hostile notes can't do."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from ama import Store
from ama.dashboard.export import export
from ama.dashboard.note_views import MOST_NOTES, MOST_PARTS
from ama.format.entries import AddNote
from ama.storage.local import LocalStorage
from ama.stores.remote import Remote
from counting_storage import CountingStorage
from test_dashboard import PIXEL, SCRIPT, TURN, Tags, browser_of, seen, text_of

REPORT = b'{"f1": 0.9}'
IMAGE = "figure.png"


@pytest.fixture
def store(home: Path) -> Store:
    store = Store.open(home / "store", create=True)
    for number in range(1, 4):
        documents = {"params.yml": f"lr: 0.{number}\n".encode()}
        store.publish("models", documents, metadata={"loss": number / 10, "by": "Cy"})
    return store


@pytest.fixture
def client(store: Store) -> Iterator[TestClient]:
    with browser_of(store) as client:
        yield client


def by(store: Store, name: str) -> Store:
    settings = replace(store.settings, user_name=name, user_email="x@example.com")
    return Store.open(store.url, settings=settings)


def section(client: TestClient, address: str, name: str) -> str:
    page = client.get(address).text
    found = re.search(rf'<section aria-labelledby="{name}">(.*?)</section>', page, re.DOTALL)
    return found[1] if found else ""


class TestAsset:
    def test_they_stand_apart_with_their_history(self, store: Store, client: TestClient) -> None:
        assert section(client, "/assets/models/1", "noted") == ""
        by(store, "Ann").note(
            "models/1", metadata={"loss": 0.5, "ok": True}, tags=["eu", "x"], message="a\nb"
        )
        by(store, "Bo").note("models/1", metadata={"loss": 0.75}, remove=["ok", "x"])
        found = section(client, "/assets/models/1", "noted")
        said = text_of(found)
        values, notes = said.split("Bo", 1)[0], said.split("Bo", 2)[2]
        assert "loss 0.75" in values
        assert "ok" not in values
        newest, oldest = notes.split("Ann", 1)
        assert "loss = 0.75" in newest
        assert "ok taken back" in newest
        assert re.search(r"x taken away", newest)
        assert "a b" in oldest
        assert "ok = true" in oldest
        own = text_of(section(client, "/assets/models/1", "values"))
        assert "loss 0.1 metadata" in own
        assert "0.75" not in own

    def test_tags_are_labels(self, store: Store, client: TestClient) -> None:
        store.note("models/1", tags=["needs review", "a=b", SCRIPT])
        page = client.get("/assets/models/1").text
        link = re.search(r'<a class="tag" href="([^"]+)"', page)
        assert link is not None
        assert 'value="models/1"' in client.get(html.unescape(link[1])).text
        assert 'value="models/2"' not in client.get(html.unescape(link[1])).text
        assert page.count('<span class="tag"') >= 2  # a filter would take these for conditions
        assert Tags.dangerous(page) == []
        for address in ("/", "/classes/models", "/search?q=review"):
            assert "Aliases, tags" in seen(client, address)
            assert "needs review" in seen(client, address)

    def test_of_a_deleted_asset(self, store: Store, client: TestClient) -> None:
        store.note("models/1", metadata={"ok": True}, file={"why.txt": b"because"})
        store.delete("models/1", force=True)
        assert "ok true" in text_of(section(client, "/assets/models/1", "noted"))
        assert "because" in seen(client, "/assets/models/1/noted/4/why.txt")

    def test_there_is_a_limit(self, store: Store, client: TestClient) -> None:
        values = {f"key{n}": n for n in range(100)}
        store.note("models/1", metadata=values, tags=[f"tag{n}" for n in range(100)])
        for n in range(MOST_NOTES):
            store.note("models/1", message=f"note {n}")
        said = text_of(section(client, "/assets/models/1", "noted"))
        assert f"{100 - MOST_PARTS} more are not shown" in said
        assert "1 earlier note is not shown; ama note models/1 lists all" in said
        assert f"note {MOST_NOTES - 1}" in said
        assert "key1 = 1" not in said


class TestFiles:
    def test_a_file_has_a_page(self, store: Store, client: TestClient) -> None:
        by(store, "Bo").note("models/1", file={"report.json": REPORT})
        by(store, "Ann").note("models/1", file={"report.json": b"{}"})
        links = re.findall(
            r'href="(/assets/models/1/noted/[^"]+)"', client.get("/assets/models/1").text
        )
        assert links == [f"/assets/models/1/noted/{n}/report.json" for n in (5, 4)]
        first = seen(client, links[1])
        assert 'Content {"f1": 0.9}' in first
        assert "Noted By Bo" in first
        assert "--cat" not in first  # it would print the newer one
        assert "ama note models/1 --cat report.json" in seen(client, links[0])
        got = client.get("/assets/models/1/noted-download/4/report.json")
        assert got.content == REPORT
        assert got.headers["content-disposition"].startswith("attachment")
        assert client.head("/assets/models/1/noted-download/4/report.json").content == b""

    def test_what_is_not_there(self, store: Store, client: TestClient) -> None:
        store.note("models/1", file={"report.json": REPORT})
        for path in ("noted/4/other", "noted/9/report.json", "noted/x/report.json", "noted/4/"):
            answer = client.get(f"/assets/models/1/{path}")
            assert answer.status_code == 404, path
            assert "models/1" in text_of(answer.text)
        assert client.get("/assets/models/2/noted/4/report.json").status_code == 404
        assert client.get("/assets/models/1/noted-download/4/params.yml").status_code == 404
        assert client.get("/assets/models/1/files/report.json").status_code == 404

    def test_nothing_in_one_runs(self, store: Store, client: TestClient) -> None:
        files = {
            "page.html": SCRIPT.encode(),
            "a.svg": f"<svg xmlns='http://www.w3.org/2000/svg'>{SCRIPT}</svg>".encode(),
            "a.md": f"[x](javascript:alert(1)) {SCRIPT}".encode(),
            IMAGE: PIXEL,
            "not.png": SCRIPT.encode(),
        }
        for name, content in files.items():
            store.note("models/1", file={name: content})
        for entry, name in enumerate(files, 4):
            page = client.get(f"/assets/models/1/noted/{entry}/{name}")
            assert page.status_code == 200
            dangers = Tags.dangerous(page.text)
            assert [each for each in dangers if IMAGE not in each] == []
            got = client.get(f"/assets/models/1/noted-download/{entry}/{name}")
            assert got.headers["content-disposition"].startswith("attachment")
            assert got.headers["content-type"] == "application/octet-stream"
            image = client.get(f"/assets/models/1/noted-image/{entry}/{name}")
            assert image.status_code == (200 if name == IMAGE else 404)
        assert client.get(f"/assets/models/1/noted-image/7/{IMAGE}").content == PIXEL

    def test_a_damaged_file_fails_alone(self, store: Store, client: TestClient) -> None:
        store.note("models/1", file={"a.txt": b"exactly this"})
        pack = max(Path(store.url).rglob("*.pack"), key=lambda path: path.stat().st_mtime_ns)
        pack.chmod(0o644)
        pack.write_bytes(pack.read_bytes().replace(b"exactly this", b"exactly that"))
        page = seen(client, "/assets/models/1/noted/4/a.txt")
        assert "damaged" in page
        assert "exactly" not in page.partition("Content")[2].partition("Take it home")[0]
        assert client.get("/assets/models/1/noted-download/4/a.txt").status_code == 500
        assert "a.txt" in seen(client, "/assets/models/1")


class TestTables:
    def test_columns_and_plots_have_them(self, store: Store, client: TestClient) -> None:
        store.note("models/1", metadata={"loss": 7, "test.accuracy": 0.5})
        store.note("models/2", metadata={"test.accuracy": 0.25})
        page = client.get("/classes/models?col=:loss&col=:test.accuracy&sort=:loss").text
        order = re.findall(r'name="a" value="models/(\d)"', page)
        assert order == ["1", "3", "2"]
        said = text_of(page)
        assert "7 * (noted later) 0.5 * (noted later)" in said
        assert "* noted later" in said
        assert "No number" not in text_of(client.get("/classes/models?plot=:test.accuracy").text)
        assert page.count("<circle") + page.count('class="dot') > 0
        for condition, expected in (("loss>0.25", ["3", "1"]), ("accuracy<0.3", ["2"])):
            found = client.get("/classes/models", params={"q": condition}).text
            assert re.findall(r'name="a" value="models/(\d)"', found) == expected
        assert "* noted later" not in seen(client, "/classes/models?col=:by")

    def test_a_comparison_marks_them(self, store: Store, client: TestClient) -> None:
        store.note("models/2", metadata={"loss": 0.05}, tags="approved")
        said = seen(client, "/compare?a=models/1&a=models/2")
        assert "loss metric 0.1 0.05 * (noted later) -0.05" in said
        assert "Tags tag approved" in said


class TestClass:
    def test_the_description_heads_the_page(self, store: Store, client: TestClient) -> None:
        assert "Description" not in seen(client, "/classes/models")
        assert client.get("/classes/models/description").status_code == 404
        by(store, "Ann").note("models", message="first words")
        page = client.get("/classes/models").text
        assert "<p>first words</p>" in page
        assert "earlier descriptions" not in page
        by(store, "Bo").note("models", message="# Models\n\nof *text*\n\n- a\n  - b")
        page = client.get("/classes/models").text
        assert page.index("<em>text</em>") < page.index('id="filter"')
        assert "<h3>Models</h3>" in page
        assert 'href="/classes/models/description">earlier descriptions' in page
        history = seen(client, "/classes/models/description")
        assert history.index("of *text*") < history.index("first words")
        assert history.index("Bo") < history.index("Ann")
        assert "of text" in seen(client, "/").partition("Published last")[0]

    def test_one_that_was_taken_away(self, store: Store, client: TestClient) -> None:
        store.note("models", message="first words")
        store.note("models", message="")
        said = seen(client, "/classes/models")
        assert "no description any more" in said
        assert "first words" not in said
        history = seen(client, "/classes/models/description")
        assert history.index("taken away") < history.index("first words")

    def test_a_long_history_is_cut(self, store: Store, client: TestClient) -> None:
        store.note("models", message="b" * 60_000)
        for n in range(31):
            store.note("models", message=f"version {n}")
        page = seen(client, "/classes/models/description")
        assert "version 1 " in page
        assert "version 0 " not in page
        assert "ama note models lists all" in page
        assert len(client.get("/classes/models/description").content) < 200_000

    def test_of_a_class_without_assets(self, store: Store, client: TestClient) -> None:
        """No writer of ama does that, but a log may say it."""
        append(store, AddNote("nothing", None, message="x"))
        assert client.get("/classes/nothing").status_code == 404
        assert client.get("/classes/nothing/description").status_code == 404
        assert client.get("/").status_code == 200


def append(store: Store, *events: AddNote) -> None:
    store.remote.log.append(lambda view: events, author=f"{SCRIPT}{TURN} <a@b>", now=lambda: 1)


HOSTILE = "\n\n".join(
    (
        SCRIPT,
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1)) [b](data:text/html,x) ![c](https://example.com/c.png)",
        f"`{SCRIPT}` {TURN} &#x202e; \x00 \x1b[31m",
        f"| {SCRIPT} |\n|-|\n| <b onclick=x> |",
        "</div></main></body><h1>x",
    )
)


class TestHostile:
    def test_what_notes_say_is_text(self, store: Store, client: TestClient) -> None:
        asset = bytes.fromhex(store.resolve("models/1").info.id)
        odd = f"{SCRIPT}{TURN}\n\x1b[31m\x07"
        append(
            store,
            AddNote("models", None, message=HOSTILE),
            AddNote(
                "models", asset, {odd: odd, "n": float("nan")}, (odd, "x" * 200), ("gone",), HOSTILE
            ),
        )
        for address in (
            *("/", "/classes/models", "/classes/models/description", "/assets/models/1"),
            *("/compare?a=models/1&a=models/2", "/search?q=script", "/classes/models?q=script"),
        ):
            answer = client.get(address)
            assert answer.status_code == 200, address
            assert Tags.dangerous(answer.text) == [], address
            for sign in (TURN, "\x1b", "\x07", "\x00"):
                assert sign not in answer.text, address
        assert "alert(1)" in seen(client, "/assets/models/1")

    @pytest.mark.parametrize("part", ["> ", "- ", "[", "![", "*a _b ", "> - ", "|", "a|b\n-|-\n"])
    def test_no_description_stalls_a_page(
        self, store: Store, client: TestClient, part: str
    ) -> None:
        store.note("models", message="x\n\n" + part * (65_000 // len(part)))
        client.get("/classes/models")
        started = time.process_time()
        for address in ("/", "/classes/models", "/classes/models/description"):
            answer = client.get(address)
            assert answer.status_code == 200
            assert Tags.dangerous(answer.text) == []
        assert time.process_time() - started < 10  # of which a slow machine takes most


class TestExport:
    def test_it_has_them_too(self, store: Store, tmp_path: Path) -> None:
        store.note("models", message="old words")
        store.note("models", message="of *text* [out](https://example.com/)")
        store.note("models/2", metadata={"test.accuracy": 0.5}, tags="approved")
        store.note("models/2", file={"report.json": REPORT})
        store.note("models/1", file={IMAGE: PIXEL})
        store.note("models/1", file={"same.yml": b"lr: 0.3\n"})  # as a file of models/3
        site = tmp_path / "site"
        done = export(store, site, files=1000)
        pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
        assert len(pages) == done.pages
        for path, page in pages.items():
            assert Tags.dangerous(page, exported=True) == [], path
            for link in re.findall(r'(?:href|src|action)="([^"#]+)', page):
                if not link.startswith("https://example.com/"):
                    assert (path.parent / html.unescape(link)).is_file(), (path, link)
        assert "of text" in text_of(pages[site / "classes/models/index.html"])
        assert "old words" in text_of(pages[site / "classes/models/description/index.html"])
        page = pages[site / "assets/models/2/index.html"]
        assert "approved" in text_of(page)
        link = re.search(r'href="([^"]+)">report\.<wbr>json', page)
        assert link is not None
        place = (site / "assets/models/2" / link[1]).resolve()
        assert REPORT.decode() in text_of(place.read_text(encoding="utf-8"))
        assert place.with_suffix(".bin").read_bytes() == REPORT
        assert [path.read_bytes() for path in site.rglob("*.png")] == [PIXEL]
        index = (site / "static/index.js").read_text(encoding="utf-8")
        assert "noted: tag approved" in index
        assert "noted: test.accuracy = 0.5" in index
        assert "noted later" in text_of(pages[site / "assets/models/2/compare/index.html"])

    def test_a_note_makes_a_comparison_anew(self, store: Store, tmp_path: Path) -> None:
        site = tmp_path / "site"
        export(store, site)
        place = site / "assets/models/2/compare/index.html"
        untouched = site / "assets/models/3/compare/index.html"
        store.note("models/1", metadata={"loss": 0.9})
        before = untouched.read_text(encoding="utf-8")
        assert "0.9" not in text_of(place.read_text(encoding="utf-8"))
        export(store, site)
        assert "loss metric 0.9 * (noted later) 0.2" in text_of(place.read_text(encoding="utf-8"))
        assert untouched.read_text(encoding="utf-8") == before
        store.note("models/1", remove="loss")
        export(store, site)
        assert "loss metric 0.1 0.2" in text_of(place.read_text(encoding="utf-8"))
        assert export(store, site).changed == 0
        # A value that was noted of what an asset was made from counts for the asset.
        store.publish("data", {"a": b"a"})
        store.publish("models", {"b": b"b"}, refs="data/1")
        export(store, site)
        store.note("data/1", metadata={"data.rows": 12345})
        export(store, site)
        page = site / "assets/models/4/compare/index.html"
        assert "12345" in text_of(page.read_text(encoding="utf-8"))

    def test_a_later_file_of_that_name(self, store: Store, tmp_path: Path) -> None:
        site = tmp_path / "site"
        store.note("models/1", file={"report.json": REPORT})
        export(store, site)
        (page,) = [each for each in site.rglob("*.html") if "--cat" in each.read_text()]
        store.note("models/1", file={"report.json": b"{}"})
        export(store, site)
        assert "--cat" not in page.read_text(encoding="utf-8")


def test_a_page_asks_the_store_no_more_often(store: Store, tmp_path: Path) -> None:
    """Notes that this machine knows cost no request, and are of the page's one look at the log."""
    store.note("models/1", metadata={"loss": 0.5}, tags="eu", message="x")
    store.note("models", message="of text")
    storage = CountingStorage(LocalStorage(Path(store.url)))
    settings = replace(store.settings, cache_dir=tmp_path / "cache")
    client = browser_of(Store(Remote.open(storage, settings.cache_dir), settings))
    counts = {}
    for address in ("/assets/models/1", "/assets/models/2", "/classes/models", "/store"):
        client.get(address)
        storage.reset()
        assert client.get(address).status_code == 200
        counts[address] = storage.round_trips
    assert counts["/assets/models/1"] == counts["/assets/models/2"]
    assert counts["/classes/models"] == counts["/store"]
