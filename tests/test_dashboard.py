"""The dashboard over a real store: what its pages say, and what hostile content can't do."""

from __future__ import annotations

import html
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import ama
from ama.catalog.overview import AssetLine
from ama.catalog.questions import Questions
from ama.config import set_value
from ama.dashboard.application import application, serve
from ama.dashboard.charts import lines, scatter, thinned
from ama.dashboard.compare_views import Comparing
from ama.dashboard.export import DIGITS, MOST_FILES, export
from ama.dashboard.previews import preview
from ama.dashboard.site import MARKER, Site
from ama.errors import AlreadyExists, Conflict, StorageError
from ama.format.hashing import blob_id
from ama.format.names import twins, unportable_reason
from ama.settings import user_config_path
from ama.stores.object_reader import pack_name
from ama.stores.remote import Remote
from ama.values import File
from conftest import Ama
from counting_storage import CountingStorage
from proxy import before
from servers import plain_http

INPUTS = ["git_commit_info_ckpt0.yml", "run_config_ckpt0.yml", "training.yml"]
OUTPUTS = ["graph_version.txt", "meta.yml", "model.h5", "model.yml", "summary_dict.json"]
RUNS = ("base", "wide", "finetuned")
SCRIPT = "<script>alert(1)</script>"
TURN = "\u202e"  # turns the direction of writing round
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415478da63f8cf"
    "c0000003010100f7a4f0e10000000049454e44ae426082"
)


def publish(runs: Path) -> None:
    """The runs as their users publish them: inputs in one class, models in another, linked."""
    set_value(user_config_path(), "user.name", "Ann Lee")
    set_value(user_config_path(), "user.email", "ann@example.com")
    for name in RUNS:
        directory = runs / name
        inputs = ama.Repo.init(directory, "inputs")
        inputs.add([directory / file for file in INPUTS])
        inputs.set(aliases=[name])
        inputs.upload()
        models = ama.Repo.init(directory, "models")
        models.add([directory / file for file in OUTPUTS])
        models.set(aliases=[name, "newest"], metadata={"team": "vision", "run": name})
        models.link(f"inputs@{name}")
        if name == "finetuned":
            models.link("models@base", label="initial weights")
        models.upload(message=f"the {name} model")


def publish_hostile(directory: Path) -> list[str]:
    """An asset of the class `hostile` that tries what it can; its files."""
    directory.mkdir()
    name = f"<img src=x onerror=alert(1)>{TURN}.yml"
    files = {
        name: f"'{SCRIPT}': '{SCRIPT}{TURN}'\nloss: .nan\n",
        "a'b\" c?#%2e.txt": SCRIPT,
        "page.html": SCRIPT,
        "picture.svg": f"<svg xmlns='http://www.w3.org/2000/svg'>{SCRIPT}</svg>",
        "notes.md": f"# {SCRIPT}\n[x](javascript:alert(1)) ![i](https://example.com/i.png)\n"
        f'[ok](https://example.com/?a="onclick=x)\n```\n{SCRIPT}\n```\n- {SCRIPT}'
        f"\n\n|{SCRIPT}|\n|---|\n|{SCRIPT}|",
        "table.csv": f"{SCRIPT},b\n=1+1,2\n",
        "bomb.yml": "a: &a [1]\n" + "".join(f"b{n}: [*a, *a]\n" for n in range(2000)),
        "deep.json": "[" * 100_000,
        "long.txt": "x" * 3_000_000,
    }
    for file, content in files.items():
        (directory / file).write_text(content, encoding="utf-8")
    (directory / "picture.png").write_bytes(PIXEL)
    (directory / "not.png").write_text(SCRIPT, encoding="utf-8")
    set_value(user_config_path(), "add.portable_names", "false")
    repo = ama.Repo.init(directory, "hostile")
    repo.add([directory])
    repo.set(metadata={SCRIPT: SCRIPT})
    repo.upload(message=f"{SCRIPT}{TURN}\n</title>{SCRIPT}")
    return [*files, "picture.png", "not.png"]


@pytest.fixture
def store(training_runs: Path, home: Path) -> ama.Store:
    publish(training_runs)
    return ama.Store.default()


@pytest.fixture
def client(store: ama.Store) -> Iterator[TestClient]:
    with browser_of(store) as client:
        yield client


def browser_of(store: ama.Store, **options: Any) -> TestClient:
    app = application(store, **options)
    return TestClient(app, base_url="http://localhost:8640", raise_server_exceptions=False)


def text_of(page: str) -> str:
    """What a page says, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.replace("<wbr>", ""))).split())


class Tags(HTMLParser):
    """Finds what could run in a page."""

    @classmethod
    def dangerous(cls, page: str, exported: bool = False) -> list[str]:
        tags = cls()
        tags.exported = exported
        tags.found = []
        tags.feed(page)
        return tags.found

    found: list[str]
    exported: bool

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        own = r"/static/|/assets/hostile/1/image/picture\.png$"
        inside = "/"
        if self.exported:
            own = rf"(\.\./)*static/\w+\.js$|{blob_id(PIXEL).hex()[:DIGITS]}\.png$"
            inside = r"[\w./~-]+$"
        if tag in ("script", "img", "iframe", "object", "embed", "base", "style"):
            if not re.match(own, known.get("src") or ""):
                self.found.append(f"{tag} {attrs}")
        for name, value in attrs:
            link = name in ("href", "src", "action", "xlink:href")
            if name.startswith("on") or name == "style":
                self.found.append(f"{name} of {tag}")
            if link and not re.match(rf"{inside}|#|https://example\.com/", value or ""):
                self.found.append(f"{name}={value}")


def seen(client: TestClient, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status, text_of(answer.text)
    return text_of(answer.text)


def numbers(client: TestClient, query: str) -> list[int]:
    page = client.get(f"/classes/models?{query}").text
    return [int(found) for found in re.findall(r'name="a" value="models/(\d+)"', page)]


class TestPages:
    def test_home_says_what_there_is(self, client: TestClient) -> None:
        page = seen(client, "/")
        assert "Assets 6 Classes 2" in page
        assert "Saved by storing things once" in page
        assert page.index("models/3") < page.index("inputs/3")
        assert "models@newest to models/3" in page[page.index("Aliases moved last") :]

    def test_an_empty_store_says_how_to_begin(self, tmp_path: Path, home: Path) -> None:
        empty = ama.Store.open(str(tmp_path / "empty"), create=True)
        assert "Nothing was published here yet" in seen(browser_of(empty), "/")

    def test_a_class_has_what_tracking_asks_for(self, client: TestClient) -> None:
        page = seen(client, "/classes/models")
        for heading in ("Number", "Aliases", "Created By", "Created At", "Message", "val_loss"):
            assert heading in page
        assert "the wide model" in page
        assert "0.266756" in page
        assert 'aria-label="best.val_loss over 3 assets' in client.get("/classes/models").text

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", [3, 2, 1]),
            ("way=up", [1, 2, 3]),
            ("sort=summary_dict.json:best.val_loss&way=up", [2, 3, 1]),
            ("sort=summary_dict.json:best.val_loss", [1, 3, 2]),
            ("sort=message&way=up", [1, 3, 2]),
            ("q=wide", [2]),
            ("q=WIDE+vision", [2]),
            ("q=val_loss<0.28", [3, 2]),
            ("q=val_loss<0.28+run%3Dwide", [2]),
            ("q=learning_rate<0.001", [3]),
            ("q=nothing-like-this", []),
            ("state=deprecated", []),
            ("state=nonsense&sort=nonsense&page=nonsense", [3, 2, 1]),
        ],
    )
    def test_a_class_is_sorted_and_filtered(
        self, client: TestClient, query: str, expected: list[int]
    ) -> None:
        assert numbers(client, query) == expected

    def test_columns_of_ones_choice_also_from_what_it_was_made_from(
        self, client: TestClient
    ) -> None:
        column = "inputs>training.yml:parameters.learning_rate"
        page = client.get("/classes/models", params={"col": [":run", column]}).text
        assert "val_loss</a>" not in page
        table = text_of(page[page.index("<thead") :])
        assert "3 finetuned newest finetuned 0.0003 Ann Lee" in table

    def test_what_only_old_assets_say_is_a_column_too(
        self, store: ama.Store, tmp_path: Path
    ) -> None:
        def upload(directory: Path, class_name: str, config: str, *refs: str) -> None:
            directory.mkdir(exist_ok=True)
            (directory / "config").mkdir(exist_ok=True)
            (directory / "config" / "params.yml").write_text(config, encoding="utf-8")
            if not (directory / ".ama").exists():
                ama.Repo.init(directory, class_name)
            repo = ama.Repo.open(directory)
            repo.add([directory])
            for ref in refs:
                repo.link(ref)
            repo.upload()

        questions = Questions(store.remote, store.settings)
        client = browser_of(store, questions=questions)

        def offered() -> list[str]:
            page = client.get("/classes/runs").text
            return re.findall(r'name="col" value="([^"]+)"', html.unescape(page))

        data, runs = tmp_path / "data", tmp_path / "runs"
        upload(data, "sets", "shuffled: true")
        upload(runs, "runs", "warmup: 5", "sets/1")
        for number in range(14):
            upload(runs, "runs", f"seed: {number}")
        old = ["config/params.yml:warmup", "sets>config/params.yml:shuffled"]
        assert offered() == ["config/params.yml:seed", *old]
        page = client.get("/classes/runs", params={"col": old, "way": "up"}).text
        assert "1 5 true Ann Lee" in text_of(page[page.index("<tbody") :])
        # Later ones are looked through from there on; what nobody has any more is offered no more.
        upload(runs, "runs", "momentum: 0.9")
        for number in range(14):
            upload(runs, "runs", f"seed: {number}.5")
        assert offered() == ["config/params.yml:seed", *old, "config/params.yml:momentum"]
        store.delete("runs/1", force=True)
        assert offered() == ["config/params.yml:seed", "config/params.yml:momentum"]

    def test_no_condition_is_said(self, client: TestClient) -> None:
        assert "is no number to compare with" in seen(client, "/classes/models?q=loss<abc")

    def test_an_asset(self, client: TestClient, store: ama.Store) -> None:
        page = seen(client, "/assets/models/3")
        assert "Created By Ann Lee ann@example.com" in page
        assert "ama download models --alias finetuned" in page
        assert "models/1 as initial weights" in page
        assert "parameters.learning_rate 0.0003 inputs › training.yml" in page
        assert "summary_dict.json 495 B" in page
        code = store.resolve("models/3").summary().code
        assert code is not None
        assert str(code.commit) in page
        picture = client.get("/assets/models/3").text
        assert '<a href="/assets/inputs/3">' in picture
        assert "<style" not in picture

    def test_the_commands_are_right(
        self, client: TestClient, run: Ama, tmp_path: Path, store: ama.Store
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        pages = [
            (address, client.get(address).text)
            for address in ("/assets/models/3", "/assets/models/1/files/model.yml")
        ]
        commands = {
            (address, name): html.unescape(text)
            for address, page in pages
            for name, text in re.findall(
                r'<pre id="(command-\d)"[^>]*><code>(.*?)</code>', page, re.DOTALL
            )
        }
        for number in ("command-1", "command-2"):
            words = shlex.split(commands["/assets/models/3", number])
            run.ok(*words[1:], cwd=elsewhere)
        assert (elsewhere / "finetuned" / "model.h5").is_file()
        words = shlex.split(commands["/assets/models/1/files/model.yml", "command-1"])
        assert words[-2:] == [">", "model.yml"]
        text = store.resolve("models/1").read("model.yml").decode()
        assert run.ok(*words[1:-2], cwd=elsewhere).stdout == text
        lines = commands["/assets/models/3", "command-3"]
        subprocess.run([sys.executable, "-c", lines], cwd=elsewhere, check=True)
        assert (elsewhere / "models-3" / "model.h5").is_file()

    def test_aliases_then_and_now(self, client: TestClient) -> None:
        assert "newest went on to 2" in seen(client, "/assets/models/1")
        assert "models/3" in seen(client, "/classes/models/aliases/newest")
        seen(client, "/classes/models/aliases/no-such", 404)

    @pytest.mark.parametrize(
        ("address", "ways"),
        [
            ("/assets/models/99", ["/assets/models/3", "/classes/models", "/"]),
            ("/assets/models/x", ["/assets/models/3", "/classes/models", "/"]),
            ("/assets/model/1", ["/classes/models", "/"]),
            ("/classes/unlike", ["/"]),
            (
                "/assets/models/1/files/meta.yaml",
                [
                    "/assets/models/1/files/meta.yml",
                    "/assets/models/1/files/model.yml",
                    "/assets/models/1",
                    "/assets/models/3",
                    "/classes/models",
                    "/",
                ],
            ),
            (
                "/classes/models/aliases/newst",
                ["/classes/models/aliases/newest", "/assets/models/3", "/classes/models", "/"],
            ),
            (
                "/compare?a=models/99&a=inputs@bas",
                ["/assets/models/3", "/classes/models", "/assets/inputs/3", "/classes/inputs"],
            ),
        ],
    )
    def test_what_is_not_there_leads_to_what_is(
        self, client: TestClient, address: str, ways: list[str]
    ) -> None:
        page = client.get(address).text
        _, _, below = page.partition("<p>Go to:</p>")
        assert re.findall(r'<li><a href="([^"]+)"', below) == ways
        assert " ama " not in text_of(page[page.index("<main") : page.index("</main")])

    @pytest.mark.parametrize(
        ("names", "title"),
        [
            ("abc", "a/1, b/1 and c/1"),
            ("ab", "a/1 and b/1"),
            ("abcde", "a/1, b/1 and 3 more"),
        ],
    )
    def test_a_comparison_is_called_by_all(
        self, client: TestClient, names: str, title: str
    ) -> None:
        page = client.get("/compare", params={"a": [f"{name}/1" for name in names]}).text
        assert f"<title>Compare {title} · ama</title>" in page

    def test_an_empty_list_is_a_value(self, client: TestClient) -> None:
        assert "parameters.frozen_layers [] training.yml" in seen(client, "/assets/inputs/1")

    def test_what_became_of_an_asset(self, client: TestClient, store: ama.Store) -> None:
        store.deprecate("models/2", "wrong labels")
        assert "was deprecated. wrong labels" in seen(client, "/assets/models/2")
        store.delete("models/2", force=True)
        assert "its record stays" in seen(client, "/assets/models/2")
        assert numbers(client, "") == [3, 1]
        assert numbers(client, "state=deleted") == [2]

    @pytest.mark.parametrize(
        ("path", "said"),
        [
            ("models/1/files/model.h5", "64 × 256"),
            ("models/1/files/model.yml", "class: Sequential"),
            ("models/1/files/summary_dict.json", '"val_loss": 0.284895'),
        ],
    )
    def test_previews(self, client: TestClient, path: str, said: str) -> None:
        assert said in seen(client, f"/assets/{path}")

    def test_a_download_is_the_file(self, client: TestClient, store: ama.Store) -> None:
        address = "/assets/models/1/download/model.h5"
        answer = client.get(address)
        assert answer.content == store.resolve("models/1").read("model.h5")
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-type"] == "application/octet-stream"
        head = client.head(address)
        assert head.headers["content-length"] == str(len(answer.content))
        assert head.content == b""

    def test_compare(self, client: TestClient) -> None:
        page = seen(client, "/compare?a=models/1&a=models@wide")
        assert "best.val_loss summary_dict.json 0.284895 0.266756 -0.018139 better" in page
        assert "-parameters: 50826 +parameters: 167178" in page
        assert "fine_tuned_from" not in page
        assert "fine_tuned_from" in seen(client, "/compare?a=models/1&a=models/2&all=1")
        assert "kernel" in seen(client, "/compare?a=models/1&a=models/2&file=model.h5")
        chart = client.get("/compare?a=models/1&a=models/2&a=models/3").text
        assert chart.count('<polyline class="line c2"') == 4
        assert "takes two assets" in seen(client, "/compare?a=models/1")
        assert "no asset 99" in seen(client, "/compare?a=models/1&a=models/99")

    def test_a_comparison_takes_no_longer_than_it_may(
        self, client: TestClient, run: Ama, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compared = "/compare?a=models/1&a=models/2"
        monkeypatch.setattr("ama.dashboard.compare_views.LARGE", 200_000)
        page = client.get(f"{compared}&file=model.h5").text
        assert "more than 200,000 bytes, too many to be compared here" in page
        command = html.unescape(page).partition("too many to be compared here: ")[2]
        words = shlex.split(command.partition("</p>")[0])
        assert "kernel" in run.ok(*words[1:]).stdout
        assert "-parameters: 50826" in text_of(page)
        monkeypatch.setattr("ama.dashboard.compare_views.SECONDS", 0)
        page = seen(client, compared)
        assert re.search(r"[1-9] more small files that differ were not compared", page)
        assert "-parameters: 50826" not in page

    def test_one_large_comparison_after_another(self, store: ama.Store) -> None:
        comparing = Comparing(store.url)
        assets = [store.resolve(f"models/{number}") for number in (1, 2)]
        rows = ama.compare(*assets).changed_files
        with pytest.MonkeyPatch.context() as patch, comparing.one_at_a_time():
            patch.setattr("ama.dashboard.compare_views.PATIENCE", 0)
            with pytest.raises(Conflict, match="large files"):
                comparing.within(assets, rows, "model.h5")
            assert comparing.within(assets, rows, "").files
        assert comparing.within(assets, rows, "model.h5").files[0].tensors

    def test_search_by_words(self, client: TestClient) -> None:
        assert "the wide model" in seen(client, "/search?q=WIDE")
        assert "models/3 meta.yml description" in seen(client, "/search?q=fine-tuned+head")
        assert "models/2" in seen(client, '/search?q="the wide"')
        assert "None has all these words" in seen(client, "/search?q=wide+nothing")
        assert "None has all these words" in seen(client, '/search?q="an open quote')

    def test_search_by_content(self, client: TestClient, training_runs: Path) -> None:
        data = (training_runs / "base" / "model.yml").read_bytes()
        headers = {"origin": "http://localhost:8640"}
        hashed = client.post("/hash", content=data, headers=headers).json()["hash"]
        assert hashed == ama.hash_file(training_runs / "base" / "model.yml")
        page = seen(client, f"/search?hash={hashed}")
        assert "models/3" in page
        assert "models/2" not in page
        assert "No asset" in seen(client, "/search?hash=" + "0" * 64)
        assert "No asset" in seen(client, "/search?hash=0000000")
        assert "models/3" in seen(client, f"/search?hash={hashed[:9].upper()}")
        # `Store.find` would take these for files of this machine.
        for name, source in (("abcdef1", "base"), (hashed, "wide")):
            shutil.copy(training_runs / source / "model.yml", name)
        assert "No asset" in seen(client, "/search?hash=abcdef1")
        assert "models/3" in seen(client, f"/search?hash={hashed}")
        for path in ("/etc/passwd", "models/1:model.yml", "abc"):
            assert "this is no hash" in seen(client, f"/search?hash={path}")

    def test_what_was_deleted_does_not_count(self, client: TestClient, store: ama.Store) -> None:
        for name in ("models/1", "models/2", "models/3", "inputs/2", "inputs/3"):
            store.delete(name, force=True)
        page = seen(client, "/store")
        sizes = [file.size for file in store.resolve("inputs/1").files()]
        assert f"All files of all assets {sum(sizes)} B" in page
        assert f"{len(sizes)} different files, {sum(sizes)} B" in page

    def test_the_store(self, client: TestClient, store: ama.Store) -> None:
        page = seen(client, "/store")
        assert store.id in page
        assert "Saved by chunk" in page
        assert "Never verified from this machine" in page
        assert store.fsck().ok
        assert "nothing was damaged" in seen(client, "/store")

    def test_what_is_new_is_told(self, client: TestClient, store: ama.Store) -> None:
        before = client.get("/changes").json()["number"]
        assert f'data-entry="{before}"' in client.get("/").text
        store.move_alias("models", "best", "models/2")
        assert client.get("/changes").json()["number"] == before + 1
        assert "best" in seen(client, "/")

    def test_a_page_looks_at_the_log_once(self, store: ama.Store) -> None:
        storage = CountingStorage(store.remote.storage)
        remote = Remote.open(storage, store.settings.cache_dir)
        with browser_of(ama.Store(remote, store.settings)) as client:
            for page in ("/", "/classes/models", "/assets/models/3", "/compare?a=models&a=inputs"):
                client.get(page)
                storage.reset()
                assert client.get(page).status_code == 200
                asked = [names for _, names in storage.log if names[0].startswith("log/")]
                assert len(asked) == 1, page

    def test_what_is_published_while_a_page_is_made_comes_later(self, store: ama.Store) -> None:
        class Busy(Questions):
            def recent(self, limit: int) -> tuple[AssetLine, ...]:
                found = super().recent(limit)
                store.move_alias("models", "late", "models/1")
                return found

        questions = Busy(store.remote, store.settings)
        before = questions.number()
        page = browser_of(store, questions=questions).get("/").text
        assert f'data-entry="{before}"' in page


class TestSafe:
    def test_every_answer_says_what_a_browser_may_do(self, client: TestClient) -> None:
        for address in ("/", "/nope", "/static/app.js", "/assets/models/1/download/meta.yml"):
            headers = client.get(address).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
        page = client.get("/assets/models/1").text
        assert not re.search(r"<script(?! src=)|<style| style=| on\w+=|javascript:", page)

    def test_it_only_reads(self, client: TestClient) -> None:
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert client.request(method, "/").status_code == 405
        assert client.post("/hash", content=b"x").status_code == 403
        foreign = {"origin": "https://example.com"}
        assert client.post("/hash", content=b"x", headers=foreign).status_code == 403

    def test_a_client_that_hangs_up_is_nobody_to_tell(
        self, store: ama.Store, capfd: pytest.CaptureFixture[str]
    ) -> None:
        there = serve(store, port=0)
        server = threading.Thread(target=there.run, daemon=True)
        server.start()
        port = int(there.url.rsplit(":", 1)[1].strip("/"))
        host = f"localhost:{port}"
        hashing = f"POST /hash HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
        for sent in (
            f"{hashing}Content-Length: 100000\r\n\r\nhalf",
            f"{hashing}Transfer-Encoding: chunked\r\n\r\n5\r\nhal",
            f"{hashing}Content-Length: 1000",
            f"GET /assets/models/1/download/model.h5 HTTP/1.1\r\nHost: {host}\r\n\r\n",
            f"GET /classes/models HTTP/1.1\r\nHost: {host}\r\n\r\n",
            "nonsense\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(sent.encode())
                time.sleep(0.2)
                # Closed at once: what comes later is answered with a reset.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        time.sleep(0.5)
        with urllib.request.urlopen(there.url, timeout=20) as answer:
            assert answer.status == 200
        told = capfd.readouterr()
        assert "Traceback" not in told.err + told.out
        assert "ClientDisconnect" not in told.err + told.out

    def test_another_name_is_refused(self, client: TestClient) -> None:
        for host in ("example.com", "localhost.example.com", "[::2]:8640", "127.0.0.1.nip.io"):
            assert client.get("/", headers={"host": host}).status_code == 421
            told = client.get("/", headers={"host": host, "x-forwarded-host": "localhost"})
            assert told.status_code == 421
        for host in (
            *("", "[::1].evil", "[::1]evil", "[::1]:", "localhost:80:evil", "localhost:x@evil"),
            *("evil@localhost", "localhost/evil", "localhost:8640,evil", "localhost:+80", " "),
            *("localhost:١", "[::1", "::1", "[localhost]:80x", "localhost:", "localhost evil"),
        ):
            told = client.get("/", headers=[(b"host", host.encode())])
            assert told.status_code == 400, host
        twice = [(b"host", b"localhost:8640"), (b"host", b"evil")]
        assert client.get("/", headers=twice).status_code == 400
        for host in ("127.0.0.1:8640", "LOCALHOST", "[::1]:8640"):
            assert client.get("/", headers={"host": host}).status_code == 200

    def test_beyond_this_machine_a_token_is_demanded(self, store: ama.Store) -> None:
        client = browser_of(store, token="s3cret", hosts=None)
        for address in ("/", "/changes", "/static/app.js", "/?token=", "/?token=s3cre"):
            assert client.get(address, follow_redirects=False).status_code == 401
        assert client.get("/", headers={"cookie": "ama_dashboard_8640=wrong"}).status_code == 401
        moved = client.get("/classes/models?q=wide&token=s3cret", follow_redirects=False)
        assert moved.headers["location"] == "/classes/models?q=wide"
        assert "httponly" in moved.headers["set-cookie"].lower()
        assert client.get("/").status_code == 200
        away = client.get(
            "http://localhost:8640//example.com/?token=s3cret", follow_redirects=False
        )
        assert away.headers["location"].startswith("/example.com")

    def test_a_token_leads_to_the_very_page(self, store: ama.Store) -> None:
        client = browser_of(store, token="s3cret", hosts=None)
        for path in ("/assets/a/1/files/b%3Fc", "/assets/a/1/files/50%25.txt", "/classes/%0Aa"):
            moved = client.get(f"{path}?token=s3cret", follow_redirects=False)
            assert moved.headers["location"] == path
        client.cookies.clear()
        # Cookies don't know ports: those of other servers on the machine come along.
        cookies = {"cookie": '[odd]={"a": 1}; ama_dashboard_8640=s3cret; x'}
        assert client.get("/", headers=cookies).status_code == 200
        assert browser_of(store, token="", hosts=None).get("/").status_code == 401

    def test_two_dashboards_on_one_host(self, store: ama.Store) -> None:
        cookies: dict[str, str] = {}
        for token, port in (("one", 8640), ("two", 8641)):
            app = application(store, token=token, hosts=None)
            client = TestClient(app, base_url=f"http://localhost:{port}")
            moved = client.get(f"/?token={token}", follow_redirects=False)
            name, value = moved.headers["set-cookie"].partition(";")[0].split("=")
            cookies[name] = value
        # A browser sends all that a host has set to each of its ports.
        sent = {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        for token, port in (("one", 8640), ("two", 8641)):
            app = application(store, token=token, hosts=None)
            client = TestClient(app, base_url=f"http://localhost:{port}")
            assert client.get("/", headers=sent).status_code == 200

    def test_serving_beyond_this_machine_makes_a_token(self, store: ama.Store) -> None:
        here = serve(store, port=0)
        there = serve(store, host="0.0.0.0", port=0)
        try:
            assert here.token is None
            assert there.token
            assert f"token={there.token}" in there.address
            with pytest.raises(StorageError, match="can't listen"):
                serve(store, port=int(here.url.rstrip("/").rpartition(":")[2]))
        finally:
            here.close()
            there.close()

    @pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b"])
    def test_a_host_that_there_is_not_is_named(self, store: ama.Store, host: str) -> None:
        with pytest.raises(StorageError, match=f"can't listen on '{host}': there is no such host"):
            serve(store, host=host, port=0)

    def test_hostile_content_is_text(self, store: ama.Store, tmp_path: Path) -> None:
        files = publish_hostile(tmp_path / "hostile")
        client = browser_of(store)
        addresses = [
            *("/", "/classes/hostile", "/classes/hostile?col=:" + SCRIPT, "/assets/hostile/1"),
            *("/assets/hostile/1/lineage", "/compare?a=hostile/1&a=models/1&all=1"),
            *(f"/search?q={SCRIPT}", f"/search?hash={SCRIPT}", f"/classes/{SCRIPT}"),
            *(f"/compare?a={SCRIPT}&a={SCRIPT}", f"/search?hash={'0' * 64}&file={SCRIPT}"),
        ]
        found = re.findall(
            r'href="(/assets/hostile/1/files/[^"]+)"', client.get("/assets/hostile/1").text
        )
        assert len(found) == len(files)
        for address in addresses + [html.unescape(each) for each in found]:
            answer = client.get(address)
            assert answer.status_code in (200, 400, 404), address
            assert Tags.dangerous(answer.text) == [], address
            assert TURN not in answer.text
            assert len(answer.content) < 300_000, address
        assert (
            client.get("/assets/hostile/1/image/picture.png").headers["content-type"] == "image/png"
        )
        for other in ("picture.svg", "not.png", "page.html"):
            assert client.get(f"/assets/hostile/1/image/{other}").status_code == 404
        page = client.get("/assets/hostile/1/download/page.html").headers
        assert page["content-disposition"].startswith("attachment")

    @pytest.mark.parametrize(
        "path",
        [
            "../../../../etc/passwd",
            "..%2f..%2f..%2fetc%2fpasswd",
            "%2e%2e/meta.yml",
            "/etc/passwd",
            "meta.yml/",
            "meta.yml%00",
            "",
        ],
    )
    def test_no_path_leads_out(self, client: TestClient, path: str) -> None:
        for kind in ("files", "download", "image"):
            assert client.get(f"/assets/models/1/{kind}/{path}").status_code in (400, 404)

    def test_a_name_of_two_lines(self, store: ama.Store, tmp_path: Path) -> None:
        directory = tmp_path / "lines"
        directory.mkdir()
        (directory / "a\nb.txt\n").write_text("two", encoding="utf-8")
        set_value(user_config_path(), "add.portable_names", "false")
        repo = ama.Repo.init(directory, "lines")
        repo.add([directory])
        repo.upload()
        client = browser_of(store)
        assert "two" in seen(client, "/assets/lines/1/files/a%0Ab.txt%0A")
        answer = client.get("/assets/lines/1/download/a%0Ab.txt%0A")
        assert answer.content == b"two"
        assert answer.headers["content-disposition"].endswith("''a%0Ab.txt%0A")

    def test_numbers_that_are_none(self, client: TestClient) -> None:
        for number in ("0", "99", "-1", "1.5", "x", "9" * 400, "١"):
            assert client.get(f"/assets/models/{number}").status_code == 404

    def test_a_deep_tree_and_many_files(self, store: ama.Store, tmp_path: Path) -> None:
        deep = tmp_path / "deep"
        below = deep.joinpath(*["d"] * 60)
        below.mkdir(parents=True)
        (below / "end.txt").write_text("end", encoding="utf-8")
        for number in range(1200):
            (deep / f"{number}.txt").write_text(str(number), encoding="utf-8")
        repo = ama.Repo.init(deep, "deep")
        repo.add([deep])
        repo.upload()
        client = browser_of(store)
        page = client.get("/assets/deep/1")
        assert "more files are not shown" in text_of(page.text)
        assert len(page.content) < 300_000
        path = "d/" * 60 + "end.txt"
        assert client.get(f"/assets/deep/1/download/{path}").content == b"end"


class TestDamage:
    def test_a_damaged_file_fails_alone(self, store: ama.Store) -> None:
        damage(store, store.resolve("models/1").files()[2].id)
        client = browser_of(ama.Store.default())
        assert "summary_dict.json" in seen(client, "/assets/models/1")
        page = seen(client, "/assets/models/1/files/model.h5")
        assert "damaged" in page
        assert "641.6 kB" in page
        answer = client.get("/assets/models/1/download/model.h5")
        assert answer.status_code == 500
        assert "damaged" in text_of(answer.text)

    def test_a_damaged_document_is_missed(self, store: ama.Store) -> None:
        files = {file.path: file for file in store.resolve("models/2").files()}
        damage(store, files["summary_dict.json"].id)
        client = browser_of(ama.Store.default())
        for address in ("/assets/models/2", "/compare?a=models/1&a=models/2"):
            page = seen(client, address)
            assert "Something is missing here" in page
            assert "parameters" in page

    def test_a_damaged_tree_leaves_the_rest(self, store: ama.Store) -> None:
        damage(store, store.resolve("models/2").info.tree)
        client = browser_of(ama.Store.default())
        page = client.get("/assets/models/2")
        assert page.status_code == 200
        assert 'class="failed"' in page.text
        assert "the wide model" in text_of(page.text)
        assert "can't be read" in seen(client, "/classes/models")
        assert 'class="failed"' not in client.get("/assets/models/1").text

    def test_a_store_that_goes_away_comes_back(self, client: TestClient, store: ama.Store) -> None:
        seen(client, "/")
        place = Path(store.url)
        place.rename(place.with_name("away"))
        compared = "/compare?a=models/1&a=models/2"
        alias = "/classes/models/aliases/newest"
        for address in ("/", "/assets/models/1", alias, compared, "/search?q=wide"):
            page = client.get(address)
            assert page.status_code == 503
            assert "comes back by itself" in page.text
        assert client.get("/changes").status_code == 503
        assert client.get("/static/app.css").status_code == 200
        place.with_name("away").rename(place)
        seen(client, "/")

    def test_a_web_server_that_goes_away_is_not_waited_for(
        self, store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "web").mkdir()
        with plain_http(tmp_path / "web") as server, before(server.url) as proxy:
            assert server.files is not None
            shutil.copytree(store.url, server.files / "ama")
            client = browser_of(ama.Store.open(f"{proxy.url}/ama"))
            seen(client, "/classes/models")
            monkeypatch.setattr("ama.dashboard.application.PATIENCE", 0.5)
            proxy.rule = lambda request: "drop"
            for address in ("/", "/assets/models/1", "/assets/models/1/download/model.h5"):
                started = time.monotonic()
                assert "has not answered for" in seen(client, address, 503)
                assert time.monotonic() - started < 6
            proxy.rule = lambda request: "pass"
            started = time.monotonic()
            while client.get("/changes").status_code == 503:
                assert time.monotonic() - started < 30
            assert "models/3" in seen(client, "/classes/models/aliases/newest")


def damage(store: ama.Store, object_id: str) -> None:
    """Change a byte of an object, wherever it lies."""
    remote = store.remote
    for place in remote.current(remote.view()).find(bytes.fromhex(object_id)):
        path = Path(store.url) / pack_name(place.pack)
        data = bytearray(path.read_bytes())
        data[place.record.offset + place.record.stored // 2] ^= 0xFF
        path.chmod(0o644)
        path.write_bytes(data)


class TestExport:
    def test_links_lead_to_files_that_are_there(self, store: ama.Store, tmp_path: Path) -> None:
        store.delete("models/2", force=True)
        site = tmp_path / "site"
        done = export(store, site)
        pages = sorted(site.rglob("*.html"))
        assert len(pages) == done.pages
        for page in pages:
            content = page.read_text(encoding="utf-8")
            for script in re.findall(r"<script([^>]*)>", content):
                assert re.fullmatch(r' src="(\.\./)*static/(app|index|search)\.js" defer', script)
            assert 'http-equiv="Content-Security-Policy" content="default-src ' in content
            for link in re.findall(r'(?:href|src|action)="([^"#]+)', content):
                assert not link.startswith(("/", "http")), (page, link)
                assert (page.parent / html.unescape(link)).is_file(), (page, link)
        assert "was deleted" in text_of((site / "assets/models/2/index.html").read_text())

    def test_each_asset_is_compared_with_what_it_comes_from(
        self, store: ama.Store, training_runs: Path, tmp_path: Path
    ) -> None:
        repo = ama.Repo.init(training_runs / "base", "runs")
        for number in range(2):
            (repo.root / "meta.yml").write_text(f"number: {number}\n", encoding="utf-8")
            repo.add(["meta.yml"])
            repo.upload()
        repo.switch("runs/1")
        (repo.root / "meta.yml").write_text("number: 7\n", encoding="utf-8")
        repo.add(["meta.yml"])
        repo.upload()
        export(store, tmp_path / "site")
        for name, said in (("runs/3", "Compare runs/1 and runs/3"), ("models/3", "models/2 and")):
            asset = tmp_path / "site" / "assets" / name / "index.html"
            link = re.search(r'href="([^"]+)">Compare with', asset.read_text(encoding="utf-8"))
            assert link is not None
            page = text_of((asset.parent / link[1]).read_text(encoding="utf-8"))
            assert said in page
        page = text_of((tmp_path / "site/assets/runs/3/compare/index.html").read_text())
        assert "number meta.yml 0 7" in page
        assert "-number: 0 +number: 7" in page

    def test_files_of_any_name_have_pages(self, store: ama.Store, tmp_path: Path) -> None:
        directory = tmp_path / "names"
        (directory / "rest").mkdir(parents=True)
        names = ["a b%20#c.txt", "a" + "\u6a21" * 80, "README", "readme", "index.html"]
        for name in [*names, *(f"rest/{number}.txt" for number in range(60))]:
            (directory / name).write_text(f"this is {name}", encoding="utf-8")
        set_value(user_config_path(), "add.portable_names", "false")
        repo = ama.Repo.init(directory, "names")
        repo.add([directory])
        repo.upload()
        site = tmp_path / "site"
        export(store, site)
        page = site / "assets/names/1/index.html"
        links = re.findall(r'class="name" href="([^"]+)"', page.read_text(encoding="utf-8"))
        said = " ".join(text_of((page.parent / link).read_text(encoding="utf-8")) for link in links)
        assert len(set(links)) == MOST_FILES
        assert all(f"this is {name} " in said for name in names)
        assert "59.txt" in text_of(page.read_text(encoding="utf-8"))

    def test_classes_and_aliases_of_any_name_have_places(
        self, store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Ama publishes no two that differ in case only; another program may have.
        for module in ("publish", "aliases"):
            monkeypatch.setattr(f"ama.transfer.{module}.check_class_name", lambda *args: None)
        names = ["resnet", "ResNet", "Wide", "aux.v1", "nul", "dot.", "dot"]
        for name in names:
            directory = tmp_path / f"of {name}"
            directory.mkdir()
            (directory / "a.txt").write_text(name, encoding="utf-8")
            repo = ama.Repo.init(directory, name)
            repo.add([directory])
            repo.set(aliases=["Best", "aux"])
            repo.upload()
        site = tmp_path / "site"
        export(store, site)
        for directory in (site, *(path for path in site.rglob("*") if path.is_dir())):
            inside = [path.name for path in directory.iterdir()]
            assert twins(inside) is None, directory
            assert [name for name in inside if unportable_reason(name)] == []
        assert (site / "classes" / "Wide" / "index.html").is_file()
        home = (site / "index.html").read_text(encoding="utf-8")
        home = home.replace("<wbr>", "")
        for name in names:
            link = re.search(rf'href="([^"]+)">{re.escape(name)}</a></h3>', home)
            assert link is not None
            page = (site / link[1]).read_text(encoding="utf-8")
            assert f"<h1>{name}</h1>" in page.replace("<wbr>", "")
            found = re.findall(r'class="chip" href="([^"]+)">Best</a>', page)
            alias = (site / link[1]).parent / found[0]
            assert "Points to" in text_of(alias.read_text(encoding="utf-8"))

    def test_another_export_brings_it_up_to_date(self, store: ama.Store, tmp_path: Path) -> None:
        site = tmp_path / "site"
        first = export(store, site)
        assert first.changed > first.pages
        again = export(store, site)
        assert (again.pages, again.changed, again.removed) == (first.pages, 0, 0)
        (site / "robots.txt").write_text("mine", encoding="utf-8")
        (site / "classes" / "mine").mkdir()
        kept = site / "assets" / "models" / "1" / "notes.txt"
        kept.write_text("mine", encoding="utf-8")
        # What the marker names, an attacker may have written.
        outside = tmp_path / "outside.txt"
        outside.write_text("mine", encoding="utf-8")
        with (site / MARKER).open("a", encoding="utf-8") as marker:
            marker.write(f"../outside.txt\n{outside}\n")
        store.remove_alias("models", "wide")
        store.delete("models/2", force=True)
        page = site / "assets/models/2/compare"
        assert page.is_dir()
        later = export(store, site)
        assert 0 < later.changed < first.pages / 2
        assert later.removed >= 1
        assert not page.exists()
        assert "the wide model" not in (site / "static/index.js").read_text(encoding="utf-8")
        assert kept.exists()
        assert (site / "robots.txt").exists()
        assert (site / "classes" / "mine").is_dir()
        assert outside.exists()
        assert "../" not in (site / MARKER).read_text(encoding="utf-8")

    def test_what_never_changes_is_not_read_again(self, store: ama.Store, tmp_path: Path) -> None:
        site = tmp_path / "site"
        first = export(store, site)
        for number in (1, 2):
            for file in store.resolve(f"models/{number}").files():
                damage(store, file.id)
        again = ama.Store.default()
        assert export(again, site) == replace(first, changed=0)
        page = self.read(site / "assets/models/2/compare")
        assert "-parameters: 50826" in text_of(page)
        # What could not be read is tried again, and as soon as an alias is moved, it is made anew.
        store.move_alias("models", "wide", "models/3")
        assert export(again, site).changed > 0
        page = self.read(site / "assets/models/2/compare")
        assert "damaged" in text_of(page)
        assert "ama-made-from" not in page

    def test_what_is_damaged_has_a_page_that_says_so(
        self, store: ama.Store, tmp_path: Path
    ) -> None:
        damage(store, store.resolve("models/2").info.id)
        assert store.settings.cache_dir is not None
        shutil.rmtree(store.settings.cache_dir)  # this machine remembers it
        export(ama.Store.default(), tmp_path / "site", files=1_000_000)
        site = tmp_path / "site" / "assets" / "models"
        assert 'class="failed"' in self.read(site / "2")
        assert "damaged" in text_of(self.read(site / "3" / "compare"))
        assert 'class="failed"' not in self.read(site / "1")

    def test_a_directory_that_is_no_export_is_left_alone(
        self, store: ama.Store, tmp_path: Path, run: Ama
    ) -> None:
        mine = tmp_path / "mine"
        mine.mkdir()
        (mine / "index.html").write_text("mine", encoding="utf-8")
        with pytest.raises(AlreadyExists, match="no export wrote"):
            export(store, mine)
        assert [path.name for path in mine.iterdir()] == ["index.html"]
        empty = tmp_path / "empty"
        empty.mkdir()
        told = run("dashboard", "--export", "", cwd=empty)
        assert (told.code, told.stdout) == (2, "")
        assert "error: no directory is named\nhint: name one: --export DIR\n" in told.stderr
        assert list(empty.iterdir()) == []
        with pytest.raises(AlreadyExists, match="is a file"):
            export(store, mine / "index.html")
        other = ama.Store.open(str(tmp_path / "other"), create=True)
        export(other, tmp_path / "site")
        with pytest.raises(AlreadyExists, match="another store"):
            export(store, tmp_path / "site")
        with Site(tmp_path / "busy", store.id), pytest.raises(Conflict):
            export(store, tmp_path / "busy")

    def test_an_interrupted_export_can_be_repeated(self, store: ama.Store, tmp_path: Path) -> None:
        site = Site(tmp_path / "site", store.id)
        site.write("index.html", b"half")
        site.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        export(store, tmp_path / "site")
        assert "Models and data" in (tmp_path / "site/index.html").read_text(encoding="utf-8")

    def test_files_are_copied_so_that_nothing_in_them_runs(
        self, store: ama.Store, tmp_path: Path
    ) -> None:
        publish_hostile(tmp_path / "hostile")
        site = tmp_path / "site"
        done = export(store, site)
        image = store.resolve("hostile/1").read("picture.png")
        assert done.files == 1
        assert [path.read_bytes() for path in site.rglob("*.png")] == [image]
        done = export(store, site, files=100_000)
        files = {path for path in site.rglob("*") if path.is_file() and path.parts[-3] == "files"}
        others = {path.suffix for path in files} - {".html", ".png"}
        assert others == {".bin"}
        page = re.search(r'href="([^"]+)">page.<wbr>html<', self.read(site / "assets/hostile/1"))
        assert page is not None
        place = site / "assets/hostile/1" / page[1]
        link = re.search(r'href="([^"]+\.bin)" download="', place.read_text(encoding="utf-8"))
        assert link is not None
        assert (place.parent / link[1]).read_text(encoding="utf-8") == SCRIPT
        large = store.resolve("models/1").files()
        assert any(file.size > 100_000 for file in large)
        assert all(path.stat().st_size <= 100_000 for path in site.rglob("*.bin"))
        for path in site.rglob("*.html"):
            assert Tags.dangerous(path.read_text(encoding="utf-8"), exported=True) == [], path
        # What isn't wanted any more is gone.
        assert export(store, site).removed == len(list(files)) - len(
            [path for path in files if path.suffix != ".bin"]
        )

    @staticmethod
    def read(directory: Path) -> str:
        return (directory / "index.html").read_text(encoding="utf-8")

    def test_the_index_has_its_limits(
        self, store: ama.Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("ama.dashboard.export.MOST_ASSET_BYTES", 300)
        monkeypatch.setattr("ama.dashboard.export.MOST_SAID_BYTES", 100)
        monkeypatch.setattr("ama.dashboard.export.MOST_INDEXED", 2)
        export(store, tmp_path / "site")
        page = text_of(self.read(tmp_path / "site/search"))
        said = re.search(r"(\d) assets of this copy can be found; (\d) older ones are not", page)
        assert said is not None
        assert int(said[1]) + int(said[2]) == 6
        assert f"Of {said[1]} assets not all that they say is in it" in page
        assert "files can't be found by their hashes" in page

    def test_the_command(self, store: ama.Store, run: Ama, tmp_path: Path) -> None:
        done = run.ok("dashboard", "--export", "site", "--files", "1kB", cwd=tmp_path)
        assert done.stdout.startswith("wrote ")
        assert (tmp_path / "site" / "static" / "app.css").is_file()
        assert len(list((tmp_path / "site").rglob("*.bin"))) > 3
        again = run.ok("dashboard", "--export", "site", "--files", "1kB", "--json", cwd=tmp_path)
        assert again.json()["changed"] == 0
        assert run("dashboard", "--export", "site", "--files", "much").code == 2

    def test_without_the_server_it_says_what_to_install(
        self, store: ama.Store, tmp_path: Path
    ) -> None:
        without = (
            "import runpy, sys; sys.modules['uvicorn'] = None; sys.argv = ['ama', 'dashboard'];"
            " runpy.run_module('ama', run_name='__main__')"
        )
        done = subprocess.run(
            [sys.executable, "-c", without],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 2
        assert "packages of the dashboard aren't installed: there is no uvicorn" in done.stderr
        assert "pip install '.[dashboard]'" in done.stderr


class TestParts:
    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            (100, ""),
            (250, "the first 100 of 250 rows"),
            # Not all of so many is read, and the last that is may be cut.
            (10_000, "the first 100 of more than 8,190 rows"),
        ],
    )
    def test_a_table_says_of_how_many_rows_it_is(self, rows: int, said: str) -> None:
        data = b"12345,12345\n" * (rows + 1)
        shown = preview(File("a.csv", "file", "0" * 64, len(data)), lambda: iter([data]))
        assert len(shown.rows) == 101
        assert shown.note == said

    def test_charts_hold_whatever_numbers_there_are(self) -> None:
        for values in ([0.0], [1e308, -1e308], [5e-324, 0.0], [1.0, 1.0], [-3.0, 1e9, 2.0]):
            for chart in (scatter(list(enumerate(values)), SCRIPT), lines({"a": values}, SCRIPT)):
                assert "nan" not in chart
                assert "inf" not in chart
                assert SCRIPT not in chart
        assert TURN not in scatter([(1, 0.5)], TURN) + lines({TURN: [1.0, 2.0]}, TURN)
        assert "polyline" in lines({"a": [float("nan"), 1.0, float("inf")]}, "b")
        many = [(float(x), float(x % 97)) for x in range(50_000)]
        kept = thinned(many)
        assert len(kept) <= 600
        assert {y for _, y in kept} >= {0.0, 96.0}
