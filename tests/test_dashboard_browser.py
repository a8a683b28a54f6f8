"""The dashboard in a real browser, as its users go through it: the whole story, and each screen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ama
from ama.dashboard.export import export
from conftest import PROJECT, Ama
from servers import plain_http
from test_dashboard import SCRIPT, publish, publish_hostile

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
AXE = PROJECT / ".servers" / "node_modules" / "axe-core" / "axe.min.js"

SCREENS = [
    "/",
    "/classes/models",
    "/assets/models/3",
    "/assets/models/3/lineage",
    "/assets/models/1/files/model.h5",
    "/assets/models/1/files/summary_dict.json",
    "/compare?a=models/1&a=models/2",
    "/search?q=wide",
    "/classes/models/aliases/newest",
    "/classes/models/description",
    "/assets/models/2",
    "/assets/models/2/noted/10/report.json",
    "/store",
    "/no/such/page",
]


def need(what: object, why: str) -> None:
    if what:
        return
    if os.environ.get("AMA_TESTS_NEED_SERVERS"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture
def store(training_runs: Path, home: Path) -> ama.Store:
    need(CHROMIUM, "needs Chromium: apt-get install chromium")
    publish(training_runs)
    store = ama.Store.default()
    note(store)
    return store


def note(store: ama.Store) -> None:
    """What a browser is to show of notes, entries 7 to 10 of the log."""
    store.note("models", message="first words")
    table = "| a | b |\n|--|--:|\n| 1 | 2 |"
    described = f"# Models\n\nof *text*\n\n- a\n  - b\n\n{table}\n\n    {'code ' * 60}\n"
    store.note("models", message=described)
    values = {"best.val_loss": 0.3, "passed": True, "report": "https://example.com/" + "x" * 200}
    tags = ["approved", "needs review", "a very long tag " * 8]
    store.note("models/2", metadata=values, tags=[tag.strip() for tag in tags], message="a\nb")
    store.note("models/2", file={"report.json": b'{"f1": 0.9}'}, remove=["passed", "approved"])


@contextmanager
def served(directory: Path, *args: str, port: str = "0") -> Iterator[dict[str, str]]:
    """The real command, which serves the store; what it says of where."""
    command = [sys.executable, "-m", "ama", "dashboard", "--port", port, "--json", *args]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = ""
        while not printed.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, "the dashboard ended"
            printed += line
        try:
            yield json.loads(printed)
        finally:
            process.terminate()


@pytest.fixture
def address(store: ama.Store, tmp_path: Path) -> Iterator[str]:
    with served(tmp_path) as told:
        yield told["url"].rstrip("/")


@pytest.fixture
def page(store: ama.Store) -> Iterator[sync_api.Page]:
    """A browser's page; what goes wrong in it fails the test."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
        yield page
        browser.close()
        assert [each for each in wrong if not each.startswith("Failed to load")] == []


def test_the_whole_story(
    page: sync_api.Page, address: str, store: ama.Store, training_runs: Path, run: Ama
) -> None:
    page.goto(f"{address}/classes/models")
    assert page.get_by_role("row").filter(has_text="the next one").count() == 0

    # Uploaded from the shell, it appears without a reload; what was ticked stays ticked.
    page.get_by_label("Compare models/2").check()
    directory = training_runs / "wide"
    (directory / "notes.md").write_text("# Next\n\n- better\n", encoding="utf-8")
    run.ok("add", "notes.md", cwd=directory)
    run.ok("set", "--alias", "production", cwd=directory)
    run.ok("upload", "-m", "the next one", cwd=directory)
    row = page.get_by_role("row").filter(has_text="the next one")
    row.wait_for()
    assert page.get_by_label("Compare models/2").is_checked()

    # Found as one types; the address follows.
    page.get_by_label("Filter", exact=True).fill("the next")
    page.get_by_text("1 asset", exact=True).wait_for()
    assert "q=the+next" in page.url
    page.get_by_label("Filter", exact=True).fill("")
    page.get_by_text("4 assets", exact=True).wait_for()

    # Compared with the one before.
    page.get_by_label("Compare models/4").check()
    page.get_by_label("Compare models/2").check()
    page.get_by_role("button", name="Compare the ticked").click()
    page.get_by_role("heading", name="Compare").wait_for()
    assert "notes.md" in page.get_by_role("region", name="Table of files").inner_text()

    # Opened, and its lineage followed by clicks.
    page.get_by_role("region", name="Table of values").get_by_role("link", name="models/4").click()
    page.get_by_role("heading", name="models/4").wait_for()
    page.get_by_role("region", name="Picture of the lineage").locator(
        "a", has_text="inputs/2"
    ).click()
    page.get_by_role("heading", name="inputs/2", exact=True).wait_for()
    page.get_by_role("link", name="Full size").click()
    page.get_by_role("region", name="Picture of the lineage").locator(
        "a", has_text="models/4"
    ).click()
    page.get_by_role("heading", name="models/4").wait_for()

    # A file that is dropped on the page is found, and is not kept.
    page.get_by_role("link", name="Search", exact=True).click()
    dropped = directory / "model.h5"
    page.get_by_text("Drop a file here").wait_for()
    page.get_by_label("or choose one").set_input_files(dropped)
    page.get_by_role("heading", name="Assets that hold model.h5").wait_for()
    assert ama.hash_file(dropped) in page.url
    found = page.get_by_role("region", name="Assets that hold it")
    assert found.get_by_role("link", name="models/4", exact=True).count() == 1
    found.get_by_role("link", name="model.h5").first.click()

    # Downloaded, it is the same.
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "model.h5"
    assert ama.hash_file(download.value.path()) == ama.hash_file(dropped)


def test_a_file_is_dropped(page: sync_api.Page, address: str, training_runs: Path) -> None:
    page.goto(f"{address}/search")
    page.get_by_text("Drop a file here").wait_for()
    text = (training_runs / "base" / "meta.yml").read_text(encoding="utf-8")
    data = page.evaluate_handle(
        "text => { const data = new DataTransfer();"
        " data.items.add(new File([text], 'dropped.yml')); return data; }",
        text,
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    page.get_by_role("heading", name="Assets that hold dropped.yml").wait_for()
    assert page.get_by_role("link", name="models/1", exact=True).count() == 1


def test_a_store_that_goes_away_comes_back(
    page: sync_api.Page, address: str, store: ama.Store
) -> None:
    page.goto(f"{address}/")
    place = Path(store.url)
    place.rename(place.with_name("away"))
    page.get_by_text("The store can't be reached").wait_for()
    page.reload()
    page.get_by_text("comes back by itself").wait_for()
    place.with_name("away").rename(place)
    page.get_by_role("heading", name="Models and data").wait_for()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_can_be_used_by_all(
    page: sync_api.Page, address: str, width: int, scheme: str
) -> None:
    need(AXE.is_file(), "needs axe-core: make servers")
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    failed = []
    for screen in SCREENS:
        answer = page.goto(address + screen)
        assert answer is not None
        assert answer.ok == (screen != "/no/such/page"), screen
        assert page.evaluate("document.documentElement.scrollWidth") <= width, screen
        # The page's policy lets no script in but its own: this one comes by the debugger.
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run()")["violations"]
        failed += [
            f"{screen}: {each['id']}: {[node['html'][:150] for node in each['nodes'][:3]]}"
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
    assert failed == []


@pytest.mark.parametrize("width", [1280, 390])
def test_a_comparison_fits_on_a_screen(page: sync_api.Page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{address}/compare?a=inputs/1&a=inputs/2&a=inputs/3")
    for name in ("Table of values", "Table of files"):
        table = page.get_by_role("region", name=name)
        assert table.evaluate("each => each.scrollWidth <= each.clientWidth"), name
    # Stacked or beside one another, it is a table, in which each value stands with its asset.
    table = page.get_by_role("region", name="Table of values").get_by_role("table")
    rates = table.get_by_role("row").filter(has_text="learning_rate").get_by_role("cell")
    of_asset = "each => getComputedStyle(each, '::before').content"
    for at, rate in enumerate(["0.001", "0.001", "0.0003"]):
        cell = rates.nth(at)
        assert cell.inner_text() == rate
        assert f"inputs/{at + 1}" in cell.evaluate(of_asset) or width == 1280
    assert table.get_by_role("columnheader").get_by_role("link", name="inputs/3").is_visible()


@pytest.mark.parametrize("pages", ["served", "exported"])
def test_the_asset_is_in_view_in_its_lineage(
    page: sync_api.Page, address: str, store: ama.Store, tmp_path: Path, pages: str
) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    asset, ending = f"{address}/assets/models/3", ""
    if pages == "exported":
        export(store, tmp_path / "site")
        asset, ending = (tmp_path / "site/assets/models/3").as_uri(), "/index.html"
    for screen in ("", "/lineage"):
        page.goto(asset + screen + ending)
        picture = page.locator(".picture")
        edges = picture.bounding_box(), picture.locator(".ama-root").bounding_box()
        (view, box) = ((each["x"], each["x"] + each["width"]) for each in edges if each)
        assert view[0] <= box[0] < box[1] <= view[1]
        assert picture.evaluate("each => each.scrollLeft") > 100

    # Scrolled elsewhere, it stays so when something is published.
    if pages == "served":
        picture.evaluate("each => { each.scrollLeft = 40 }")
        store.move_alias("models", "seen", "models/3")
        page.locator(".ama-alias", has_text="seen").first.wait_for()
        assert picture.evaluate("each => each.scrollLeft") == 40


BROKEN_WORDS = """
() => [...document.querySelectorAll("main th[scope=row], main h1, main summary")].flatMap(cell => {
  const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), broken = [];
  while (texts.nextNode()) {
    const range = document.createRange();
    range.selectNodeContents(texts.currentNode);
    const words = !/\\s/.test(texts.currentNode.data.trim());
    const lines = new Set([...range.getClientRects()].map(each => Math.round(each.top)));
    if (words && lines.size > 1) broken.push(texts.currentNode.data);
  }
  return broken;
})
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_names_break_between_their_words(page: sync_api.Page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    screens = [*SCREENS, "/assets/inputs/3", "/compare?a=inputs/1&a=inputs/3&all=1"]
    broken = {}
    for screen in screens:
        page.goto(address + screen)
        broken[screen] = page.evaluate(BROKEN_WORDS)
    assert {screen: names for screen, names in broken.items() if names} == {}


def test_nothing_hostile_runs(
    page: sync_api.Page, address: str, store: ama.Store, tmp_path: Path
) -> None:
    """A dialog, an error, or anything that the page's policy had to refuse, fails it."""
    publish_hostile(tmp_path / "hostile")
    said = (
        f"{SCRIPT} <img src=x onerror=alert(1)> [a](javascript:alert(1)) ![b](https://x.invalid/b)"
    )
    store.note("hostile", message=f"{said}\n\n{'> ' * 30_000}{said}")
    store.note("hostile/1", metadata={SCRIPT: said}, tags=[SCRIPT], message=said)
    store.note("hostile/1", file={"page.html": SCRIPT.encode()})
    asset = f"{address}/assets/hostile/1"
    page.goto(asset)
    all_of = "a[href*='/files/'], a[href*='/noted/']"
    links = page.locator(all_of).evaluate_all("all => all.map(each => each.href)")
    assert len(links) > 11
    screens = [
        "/",
        "/classes/hostile",
        "/classes/hostile/description",
        "/compare?a=hostile/1&a=models/1&all=1",
    ]
    screens += [f"/search?q={SCRIPT}", f"/search?hash={SCRIPT}&file={SCRIPT}"]
    for each in [asset, f"{asset}/lineage", *links, *(address + screen for screen in screens)]:
        page.goto(each)
        assert page.locator("script").count() == 1, each
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280, each
    image = page.goto(f"{asset}/files/picture.png") and page.locator("img.shown")
    assert image.evaluate("each => each.naturalWidth") == 1


def test_a_token_is_asked_for_once(page: sync_api.Page, store: ama.Store, tmp_path: Path) -> None:
    with served(tmp_path, "--host", "0.0.0.0") as told:
        url = f"http://127.0.0.1:{told['url'].rstrip('/').rpartition(':')[2]}"
        page.goto(url)
        assert "needs a token" in page.inner_text("body")
        page.goto(f"{url}/classes/models?token={told['token']}")
        page.get_by_role("heading", name="models", exact=True).wait_for()
        assert "token" not in page.url
        page.get_by_role("link", name="Store", exact=True).click()
        page.get_by_role("heading", name="Store", exact=True).wait_for()


def test_a_page_says_that_the_token_has_changed(
    page: sync_api.Page, store: ama.Store, tmp_path: Path
) -> None:
    with served(tmp_path, "--host", "0.0.0.0") as told:
        port = told["url"].rstrip("/").rpartition(":")[2]
        page.goto(f"http://127.0.0.1:{port}/?token={told['token']}")
    page.get_by_text("The dashboard isn't running any more").wait_for()
    with served(tmp_path, "--host", "0.0.0.0", port=port) as told:
        page.get_by_text("was started again, with a new token").wait_for()
        page.goto(f"http://127.0.0.1:{port}/?token={told['token']}")
        page.get_by_role("heading", name="Models and data").wait_for()


def test_by_keyboard(page: sync_api.Page, address: str) -> None:
    page.goto(f"{address}/classes/models")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    tick = page.get_by_label("Compare models/1")
    tick.focus()
    page.keyboard.press("Space")
    assert tick.is_checked()


def test_without_script_it_reads_and_filters(address: str, store: ama.Store) -> None:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(f"{address}/classes/models")
        page.get_by_label("Filter", exact=True).fill("wide")
        page.get_by_role("button", name="Filter").click()
        page.get_by_text("1 asset", exact=True).wait_for()
        browser.close()


@pytest.mark.parametrize("opened", ["from a disk", "from a web server"])
def test_an_exported_site_is_searched(
    page: sync_api.Page, store: ama.Store, tmp_path: Path, opened: str
) -> None:
    site = tmp_path / "site"
    publish_hostile(tmp_path / "hostile")
    export(store, site, files=1_000)
    with plain_http(tmp_path) as server:
        assert server.files is not None
        shutil.copytree(site, server.files / "site")
        top = f"{server.url}/site" if opened == "from a web server" else site.as_uri()
        page.set_viewport_size({"width": 390, "height": 800})
        page.goto(f"{top}/assets/models/1/index.html")
        box = page.get_by_label("Search all assets")
        box.fill("wide vision")
        box.press("Enter")
        results = page.get_by_role("region", name="Table of assets")
        results.get_by_role("link", name="models/2").wait_for()
        assert results.get_by_role("link").count() == 1
        assert "metadata: team = vision" in results.inner_text()

        # As one types: a value in a file, shown with where it stands; several words; the hostile.
        words = page.get_by_label("Words in names")
        words.fill("val_loss 0.266756")
        page.get_by_text("summary_dict.json: best.val_loss = 0.266756").wait_for()
        words.fill(SCRIPT)
        results.get_by_role("link", name="hostile/1").wait_for()
        assert page.locator("#found script, #found img").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        words.fill("nothing-like-this")
        page.get_by_text("Nothing in this copy").wait_for()

        # By the hash of a file, to its page, and to the assets that hold it.
        words.fill(store.resolve("models/1").files()[1].id)
        page.get_by_role("heading", name="Files with this hash").wait_for()
        page.locator("#found a").click()
        page.get_by_role("heading", name="Assets that hold it").wait_for()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert Path(download.value.path()).read_bytes() == store.resolve("models/1").read(
            "meta.yml"
        )
        page.get_by_role("link", name="models/1", exact=True).click()
        page.get_by_role("heading", name="models/1").wait_for()


@pytest.mark.parametrize("width", [1280, 390])
def test_an_exported_site_can_be_used_by_all(
    page: sync_api.Page, store: ama.Store, tmp_path: Path, width: int
) -> None:
    need(AXE.is_file(), "needs axe-core: make servers")
    export(store, tmp_path / "site")
    page.set_viewport_size({"width": width, "height": 800})
    for name in ("index", "search/index", "assets/models/3/index", "assets/models/3/compare/index"):
        page.goto(f"{(tmp_path / 'site' / name).as_uri()}.html")
        if name.startswith("search"):
            page.get_by_label("Words in names").fill("models")
            page.get_by_role("region", name="Table of assets").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run({preload: false})")["violations"]
        assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
