"""Stores on real servers: the whole job, what goes wrong on the way, and what may not get lost."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ama
import proxy
import servers
from ama.errors import AlreadyExists, InvalidInput, StorageError
from ama.format.entries import MoveAlias
from ama.format.hashing import blob_id
from ama.format.packindex import Location
from ama.settings import add_remote
from ama.storage.backends import BACKENDS
from ama.storage.check import RECORD, check_storage, race
from ama.storage.local import LocalStorage
from ama.storage.network import NetworkStorage, Patience, with_fsspec
from ama.storage.protocol import Range, Storage
from ama.stores.remote import Remote
from ama.wording.hints import words
from conftest import Ama

QUICK = Patience(timeout=20, retries=3, first_pause=0.01, longest_pause=0.05)


@pytest.fixture(params=servers.WRITABLE)
def server(request: pytest.FixtureRequest) -> servers.Server:
    return servers.start(request.param)


@pytest.fixture(params=["gcs", "s3", "s3_obstore"])
def far(request: pytest.FixtureRequest) -> servers.Server:
    """A server that a proxy can stand before, and the client that it is reached through."""
    return servers.start(request.param)


@pytest.fixture
def bad_network(far: servers.Server) -> Iterator[proxy.Proxy]:
    """A network before that server which does as it is told."""
    with proxy.before(far.options["endpoint_url"]) as between:
        yield between


Behind = Callable[..., NetworkStorage]


@pytest.fixture
def behind(far: servers.Server, bad_network: proxy.Proxy) -> Behind:
    """What makes a storage behind that network."""
    server = replace(far, options={"endpoint_url": bad_network.url})

    def make(name: str | None = None, **options: Any) -> NetworkStorage:
        return server.storage(name or os.urandom(8).hex(), **{"patience": QUICK, **options})

    return make


def read(storage: Storage, name: str) -> bytes | None:
    return storage.read([Range(name)])[0]


# ------------------------------------------------------------------------------ the whole job


def test_the_whole_job_on_a_server(server: servers.Server, tmp_path: Path, run: Ama) -> None:
    """As `AMA_REMOTE=gs://bucket/prefix ama upload`, with a colleague elsewhere."""
    url = f"{server.url}/{os.urandom(8).hex()}/ama"
    env = server.environ
    work, colleague = tmp_path / "w", tmp_path / "c"
    work.mkdir()
    colleague.mkdir()
    (work / "model.h5").write_bytes(os.urandom(3_000_000))
    (work / "meta.yml").write_text("lr: 0.1\n")
    options = [w for k, v in server.options.items() for w in ("--option", f"{k}={v}")]
    run.ok("remote", "add", "--user", "team", url, *options, cwd=work)
    run.ok("init", "models", cwd=work)
    run.ok("add", ".", cwd=work)
    run.ok("set", "--alias", "best", cwd=work)
    told = run.ok("upload", cwd=work, env=env)
    assert "published models/1" in told.stdout
    assert f"to the new store {url}" in told.stdout
    assert ("?" in told.stdout) == bool(server.options)
    assert "nothing new" in run.ok("upload", cwd=work, env=env).stdout
    run.ok("download", "models", "--alias", "best", cwd=colleague, env=env)
    for name in ("model.h5", "meta.yml"):
        assert (colleague / "best" / name).read_bytes() == (work / name).read_bytes()
    assert "all is well" in run.ok("fsck", "--remote", "team", cwd=colleague, env=env).stdout


@pytest.mark.parametrize("kind", servers.READ_ONLY)
def test_a_store_on_a_web_server_is_downloaded_without_a_listing(
    kind: str, tmp_path: Path, run: Ama
) -> None:
    server = servers.start(kind)
    assert server.files is not None
    name = os.urandom(8).hex()
    work = tmp_path / "w"
    work.mkdir()
    (work / "model.h5").write_bytes(os.urandom(2_000_000))
    (work / "a b").mkdir()
    (work / "a b" / "ü.txt").write_text("x")
    repo = ama.Repo.init(work, "models")
    repo.add(["."])
    repo.set(aliases=["best"])
    repo.upload(remote=str(server.files / name))
    told = run.ok(
        "download", "models", "--alias", "best", "--remote", f"{server.url}/{name}", cwd=tmp_path
    )
    assert "2 files" in told.stdout
    assert (tmp_path / "best" / "model.h5").read_bytes() == (work / "model.h5").read_bytes()
    refused = run("upload", "--remote", f"{server.url}/{name}", "-m", "x", cwd=work)
    assert refused.code == 8
    assert "Traceback" not in refused.stderr


def test_one_url_on_two_servers_is_two_remotes(tmp_path: Path, run: Ama) -> None:
    """And each stays what it is, whichever was added last, and where."""
    one = servers.start("s3")
    name = os.urandom(8).hex()
    url = f"s3://bucket/{name}"
    work = tmp_path / "w"
    work.mkdir()
    (work / "a.txt").write_text("a")
    with servers.s3(tmp_path) as two:
        for remote, server in (("one", one), ("two", two)):
            option = f"endpoint_url={server.options['endpoint_url']}"
            run.ok("remote", "add", "--user", remote, url, "--option", option, cwd=work)
        run.ok("init", "models", cwd=work)
        run.ok("add", ".", cwd=work)
        run.ok("upload", "--remote", "one", cwd=work, env=one.environ)
        # Before, the options of the last one held for both: this would have asked the other.
        assert "models" in run.ok("list", "--remote", "one", cwd=work, env=one.environ).stdout
        assert run("list", "--remote", "two", cwd=work, env=one.environ).code == 3
        option = f"endpoint_url={two.options['endpoint_url']}"
        run.ok("remote", "add", "here", url, "--option", option, cwd=work)
        assert "models" in run.ok("list", "--remote", "one", cwd=work, env=one.environ).stdout
        # What is printed can be used as it is, with nothing configured.
        listed = run.ok("remote", "list", "--json", cwd=work).json()
        urls = {remote["name"]: remote["url"] for remote in listed}
        assert urls["one"] == f"{url}?endpoint_url={one.options['endpoint_url']}"
        assert urls["here"] == urls["two"]
        env = {**one.environ, "AMA_REMOTE": urls["one"], "AMA_CONFIG_DIR": str(tmp_path / "none")}
        assert "models" in run.ok("list", cwd=tmp_path, env=env).stdout


# ------------------------------------------------------------------------------ a bad network


def test_a_busy_server_is_asked_again(bad_network: proxy.Proxy, behind: Behind) -> None:
    storage = behind()
    bad_network.rule = lambda asked: "error" if asked.seen < 2 else "pass"
    storage.put("a", b"content")
    assert read(storage, "a") == b"content"
    assert storage.sizes(["a"]) == [7]


@pytest.mark.parametrize("action", ["drop", "cut"])
def test_a_broken_connection_is_made_again(
    bad_network: proxy.Proxy, behind: Behind, action: proxy.Action
) -> None:
    storage = behind()
    storage.put("a", bytes(100_000))
    bad_network.rule = lambda asked: action if asked.seen == 0 and asked.method == "GET" else "pass"
    assert read(storage, "a") == bytes(100_000)


def test_of_a_batch_only_what_failed_is_asked_again(
    bad_network: proxy.Proxy, behind: Behind
) -> None:
    storage = behind()
    names = [f"n{number}" for number in range(20)]
    for name in names:
        storage.put(name, name.encode())
    bad_network.requests.clear()
    bad_network.rule = lambda asked: "error" if asked.number % 5 == 0 else "pass"
    assert storage.read([Range(name) for name in names]) == [name.encode() for name in names]
    assert len(bad_network.requests) <= 20 + 6


@pytest.mark.parametrize("action", ["busy", "error", "drop", "lose", "cut"])
def test_parts_come_through_a_bad_network(
    bad_network: proxy.Proxy, behind: Behind, action: proxy.Action
) -> None:
    storage = behind(openers=(with_fsspec,))
    data = os.urandom(40 << 20)
    pieces = (data[at : at + (1 << 20)] for at in range(0, len(data), 1 << 20))
    bad_network.rule = lambda asked: action if asked.seen == 0 else "pass"
    if storage.url.startswith("gs://"):  # GCS is asked once for each part
        with pytest.raises(StorageError):
            storage.write_parts("large", pieces)
        bad_network.rule = lambda asked: "pass"
        assert storage.sizes(["large"]) == [None]
        return
    storage.write_parts("large", pieces)
    bad_network.rule = lambda asked: "pass"
    (found,) = storage.read([Range("large")])
    assert found is not None
    assert blob_id(found) == blob_id(data)


def test_what_stands_still_is_cut_and_made_again(bad_network: proxy.Proxy, behind: Behind) -> None:
    storage = behind(patience=Patience(timeout=3, retries=3, first_pause=0.01))
    storage.put("a", b"content")
    bad_network.rule = lambda asked: "stall" if asked.seen == 0 else "pass"
    assert read(storage, "a") == b"content"


def test_a_server_that_never_answers_is_given_up(bad_network: proxy.Proxy, behind: Behind) -> None:
    # s3fs needs half a second before its first request, and on a busy machine seconds.
    storage = behind(patience=Patience(timeout=6, retries=1, first_pause=0.01))
    bad_network.rule = lambda asked: "stall"
    with pytest.raises(StorageError, match="did not answer in time") as caught:
        read(storage, "a")
    assert caught.value.retryable
    assert len(bad_network.requests) == 2


def test_no_permission_is_told_at_once(
    far: servers.Server, bad_network: proxy.Proxy, behind: Behind
) -> None:
    bad_network.rule = lambda asked: "denied"
    requests: list[Callable[[Storage], object]] = [
        lambda storage: storage.put("a", b"x"),
        lambda storage: storage.create("a", b"x"),
        lambda storage: read(storage, "a"),
    ]
    for request in requests:
        # What obstore is refused, s3fs tries once more: the keys may be wrong for one of them.
        storage = behind(openers=(*far.openers, with_fsspec))
        bad_network.requests.clear()
        with pytest.raises(StorageError, match="no permission") as caught:
            request(storage)
        assert not caught.value.retryable
        assert "log in: " in (words(caught.value.hints) or "")
        assert len(bad_network.requests) == 1 + far.kind.endswith("_obstore")


def test_no_such_bucket_is_told_at_once(server: servers.Server) -> None:
    if server.kind == "sftp":
        pytest.skip("an SFTP server has no buckets")
    storage = NetworkStorage(
        server.url.replace("bucket", "absent") + "/x",
        BACKENDS[server.url.partition(":")[0]],
        {**server.options, **server.secrets},
        patience=QUICK,
    )
    with pytest.raises(StorageError, match="does not exist") as caught:
        storage.put("a", b"x")
    assert not caught.value.retryable


@pytest.mark.parametrize("kind", ["gcs", "s3", "s3_obstore", "azure"])
def test_a_bucket_that_is_not_there_is_named_by_each_command(
    kind: str, tmp_path: Path, run: Ama
) -> None:
    """Also by those that only read, and by no name of a file that ama would have made there."""
    server = servers.start(kind)
    absent = f"absent-{os.urandom(4).hex()}"
    options = [w for k, v in server.options.items() for w in ("--option", f"{k}={v}")]
    url = f"{server.url.partition('://')[0]}://{absent}/ama"
    run.ok("remote", "add", "nob", url, *options, cwd=tmp_path)
    (tmp_path / "a").write_text("a")
    run.ok("init", "models", cwd=tmp_path)
    run.ok("add", "a", cwd=tmp_path)
    env = {**server.environ, "STORAGE_EMULATOR_HOST": server.options.get("endpoint_url", "")}
    if kind != "gcs":
        del env["STORAGE_EMULATOR_HOST"]
    what = "container" if kind == "azure" else "bucket"
    for command in (["list"], ["upload"], ["download", "models"], ["remote", "check"]):
        told = run(*command, cwd=tmp_path, env=env)
        assert told.code == 8, command
        assert f"there is no {what} {absent}" in told.stderr
        assert "check/" not in told.stderr


def test_a_bucket_that_vanished_is_on_no_disk(tmp_path: Path) -> None:
    with servers.s3(tmp_path) as server:
        Remote.create(server.storage("x"), tmp_path / "cache")
        server.storage("x").delete("format.json")
        with pytest.raises(StorageError, match="is gone") as caught:
            Remote.open(server.storage("x"), tmp_path / "cache")
        assert "disk" not in caught.value.message
        for name, _ in server.storage("x").list(""):
            server.storage("x").delete(name)
        url = f"{server.options['endpoint_url']}/bucket"
        with urllib.request.urlopen(urllib.request.Request(url, method="DELETE")):
            pass
        with pytest.raises(StorageError, match="there is no bucket bucket"):
            Remote.open(server.storage("x"), tmp_path / "cache")


def test_where_nothing_was_uploaded_the_first_upload_is_what_is_missing(
    server: servers.Server,
) -> None:
    with pytest.raises(ama.NotFound, match="nothing was uploaded there yet") as caught:
        Remote.open(server.storage(os.urandom(8).hex()), None)
    assert "the first `ama upload` makes it" in (words(caught.value.hints) or "")


DEAD: dict[str, dict[str, str]] = {
    "gs://bucket/x": {"endpoint_url": "http://{server}", "token": "anon"},
    "s3://bucket/x": {"endpoint_url": "http://{server}", "key": "a", "secret": "b"},
    "az://bucket/x": {
        "connection_string": "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=aaaa;"
        "BlobEndpoint=http://{server}/a;"
    },
    "sftp://ann@{server}/x": {},
    "http://{server}/x": {},
}


@pytest.mark.parametrize("url", DEAD)
def test_a_server_that_is_down_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = f"127.0.0.1:{servers.free_port()}"
    patience = Patience(timeout=20, retries=1, first_pause=0.01)
    backend = BACKENDS[url.partition(":")[0]]
    servers.needs(backend.package)
    if backend.insists:  # then ama's own pauses are none: they would be seen
        patience = Patience(timeout=5, retries=1, first_pause=300)
    if backend.package == "gcsfs":  # its pauses are longer than a test has time for
        import gcsfs.retry

        pauses = SimpleNamespace(sleep=lambda seconds: asyncio.sleep(0))
        monkeypatch.setattr(gcsfs.retry, "asyncio", pauses)
    options = {name: value.format(server=server) for name, value in DEAD[url].items()}
    storage = NetworkStorage(url.format(server=server), backend, options, patience=patience)
    with pytest.raises(StorageError, match=f"no server answers at {server}$") as caught:
        read(storage, "format.json")
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("gcs", {"endpoint_ulr": "x"}, "gcsfs has no option endpoint_ulr; did you mean endpoint_"),
        ("s3", {"endpoint_ulr": "x"}, "s3fs has no option endpoint_ulr; did you mean endpoint_url"),
        ("s3", {"client_kwargs": {"region": "x"}}, "s3fs has no option client_kwargs.region"),
        ("s3", {"config_kwargs": {"nothing": 1}}, "s3fs has no option config_kwargs.nothing"),
        ("azure", {"acount_name": "x"}, "adlfs has no option acount_name; did you mean account_na"),
        ("sftp", {"client_keyss": "x"}, "sshfs has no option client_keyss"),
        (
            "nginx",
            {"client_kwarg": "x"},
            "aiohttp has no option client_kwarg; did you mean client_",
        ),
    ],
)
def test_an_option_that_a_client_has_not_is_named(
    kind: str, options: dict[str, Any], said: str
) -> None:
    server = servers.start(kind)
    backend = BACKENDS[server.url.partition(":")[0]]
    options = {**server.options, **server.secrets, **options}
    storage = NetworkStorage(f"{server.url}/x", backend, options, patience=QUICK)
    works = [lambda: read(storage, "a"), lambda: storage.put("a", b"x")]
    if backend.creates != "never":
        works.append(lambda: storage.create("a", b"x"))
    for work in works:
        with pytest.raises(InvalidInput) as caught:
            work()
        assert said in caught.value.message


def test_a_lost_answer_is_no_conflict(bad_network: proxy.Proxy, behind: Behind) -> None:
    """The server creates the entry, and the answer is lost: we won, and publish nothing twice."""
    storage = behind()
    remote, _ = Remote.create(storage, None)
    lost: list[str] = []

    def lose_entries(asked: proxy.Request) -> proxy.Action:
        if asked.method in ("POST", "PUT") and not lost:
            lost.append(asked.path)
            return "lose"
        return "pass"

    bad_network.rule = lose_entries
    appended = remote.log.append(
        lambda view: [MoveAlias("models", "best", None)] if not view.number else [],
        author="Ann <ann@example.org>",
        now=lambda: 1,
    )
    assert lost
    assert appended is not None
    assert appended.number == 1
    bad_network.rule = lambda asked: "pass"
    assert Remote.open(behind(storage.url.rpartition("/")[2]), None).view().number == 1


# ------------------------------------------------------------------------------ races


# The S3 server of moto forgets now and then who was first, if it is busy: another stands in.
CLIENTS = {
    "gcs": "gcsfs.core",
    "seaweed": "s3fs.core",
    "seaweed_obstore": "obstore.store",
    "azure": "adlfs.spec",
    "sftp": "sshfs.spec",
}


def at_once(
    kind: str, url: str, directory: Path, count: int, *options: str
) -> tuple[dict[int, str], Callable[[], ama.Store]]:
    """Have processes publish at once; how each ended, and what opens the store."""
    server = servers.start(kind)
    config = directory / "config"
    environ = {**os.environ, **server.environ, "AMA_REMOTE": "team", "AMA_CONFIG_DIR": str(config)}
    if not config.exists():
        add_remote(config / "config.toml", "team", url, server.options)
    script = Path(__file__).with_name("publishers.py")
    argv = [sys.executable, str(script), CLIENTS[kind], str(directory), str(count), *options]
    done = subprocess.run(
        argv, env=environ, capture_output=True, encoding="utf-8", timeout=200, check=True
    )
    ended = (line.split(" ", 1) for line in done.stdout.splitlines())

    def opened() -> ama.Store:
        remote = Remote.open(server.storage(url.removeprefix(f"{server.url}/")), None)
        return ama.Store(remote, ama.Settings.load(environ=environ))

    return {int(number): said for number, said in ended}, opened


@pytest.mark.parametrize(
    ("kind", "writers"),
    [("gcs", 16), ("seaweed", 16), ("seaweed_obstore", 16), ("azure", 4), ("sftp", 4)],
)
def test_processes_that_publish_at_once_lose_nothing(
    kind: str, writers: int, tmp_path: Path
) -> None:
    """Each number once, no entry overwritten, and every file as its process wrote it."""
    server = servers.start(kind)
    name = os.urandom(8).hex()
    Remote.create(server.storage(name), None)
    ended, opened = at_once(kind, f"{server.url}/{name}", tmp_path, writers)
    numbers = {int(said.removeprefix("published ")): who for who, said in ended.items()}
    assert sorted(numbers) == list(range(1, writers + 1)), ended
    store = opened()
    for asset in store.assets("models"):
        assert asset.number is not None
        who = numbers[asset.number]
        assert asset.message == f"by {who}"
        assert store.resolve(asset.id).read("file") == f"of {who}".encode()
    assert len(store.assets("models")) == writers


@pytest.mark.parametrize("kind", ["gcs", "seaweed", "seaweed_obstore"])
def test_of_two_that_move_an_alias_from_one_asset_one_wins(kind: str, tmp_path: Path) -> None:
    """The other is told by whom it was moved, and when."""
    server = servers.start(kind)
    name = os.urandom(8).hex()
    Remote.create(server.storage(name), None)
    url = f"{server.url}/{name}"
    ended, opened = at_once(kind, url, tmp_path, 1)
    assert ended == {0: "published 1"}
    store = opened()
    store.move_alias("models", "best", "1")
    shutil.rmtree(tmp_path / "0")
    for number in range(2):
        store.resolve("models@best").download(tmp_path / str(number))
    ended, opened = at_once(kind, url, tmp_path, 2, "--alias", "best")
    won, *both = [who for who, said in ended.items() if said.startswith("published")]
    assert not both, ended
    said = ended[1 - won]
    assert re.match(r"conflict models@best is now models/2, by .+, \d{4}-\d\d-\d\d \d\d:", said), (
        said
    )
    store = opened()
    assert [move.number for move in store.alias_history("models", "best")] == [2, 1]
    assert store.resolve("models@best").info.message == f"by {won}"


# ------------------------------------------------------------------------------ remote check


def test_a_check_finds_what_a_server_can_do(server: servers.Server) -> None:
    storage = server.storage(os.urandom(8).hex())
    report = check_storage(storage)
    assert [found for found in report.findings if not found.ok] == []
    assert report.can_publish
    assert list(storage.list("")) == []


@pytest.fixture
def look_alike() -> Iterator[Callable[..., NetworkStorage]]:
    """An S3 server that ignores If-None-Match, as several do: the proxy takes it away."""
    server = servers.start("s3")
    with proxy.before(server.options["endpoint_url"]) as between:
        between.without_headers = frozenset({"if-none-match"})
        name = os.urandom(8).hex()

        def make(**options: Any) -> NetworkStorage:
            return NetworkStorage(
                f"s3://bucket/{name}",
                BACKENDS["s3"],
                {"endpoint_url": between.url, **server.secrets},
                patience=QUICK,
                **options,
            )

        yield make


def test_a_server_that_overwrites_is_found_out(look_alike: Callable[..., NetworkStorage]) -> None:
    storage = look_alike()
    assert set(race(storage, rounds=2)) != {1}
    report = check_storage(storage)
    assert report.can_read
    assert not report.can_publish
    assert [found.what for found in report.findings if not found.ok] == ["create once"]


def test_no_store_is_made_where_creates_overwrite(
    look_alike: Callable[..., NetworkStorage],
) -> None:
    with pytest.raises(StorageError, match="could lose assets") as caught:
        Remote.create(look_alike(), None)
    assert "single_writer" in (words(caught.value.hints) or "")
    assert read(look_alike(), "format.json") is None
    alone = look_alike(single_writer=True)
    remote, created = Remote.create(alone, None)
    assert created
    with pytest.raises(AlreadyExists):
        alone.create("format.json", b"other")
    assert remote.view().number == 0


def test_what_a_first_publication_found_is_recorded(server: servers.Server) -> None:
    storage = server.storage(os.urandom(8).hex())
    Remote.create(storage, None)
    record = json.loads(read(storage, RECORD) or b"")
    assert record["writers"] == 8
    remote = Remote.open(storage, None)
    assert remote.view().number == 0


def test_a_directory_needs_no_proof(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "store")
    Remote.create(storage, None)
    assert [name for name, _ in storage.list("")] == ["format.json"]


# ------------------------------------------------------------------------------ from store to store


@pytest.fixture
def linked(tmp_path: Path) -> ama.Store:
    """A store with models/2, which comes from models/1 and was made from inputs/1; and others."""
    work = tmp_path / "w"
    work.mkdir()
    store = str(tmp_path / "store")

    def publish(class_name: str, files: dict[str, bytes], **options: Any) -> None:
        for path in work.iterdir():
            if path.is_file():
                path.unlink()
        for name, data in files.items():
            (work / name).write_bytes(data)
        repo.add(["."])
        for asset in options.get("refs", ()):
            repo.link(asset)
        repo.set(aliases=options.get("aliases", ()))
        repo.upload(remote=store)

    repo = ama.Repo.init(work, "inputs")
    publish("inputs", {"data.csv": os.urandom(3_000_000)}, aliases=["raw"])
    repo = ama.Repo.init(work, "other")
    publish("other", {"unrelated": os.urandom(100_000)})
    repo = ama.Repo.init(work, "models")
    weights = os.urandom(2_000_000)
    publish("models", {"model.h5": weights})
    publish("models", {"model.h5": weights, "meta.yml": b"x"}, refs=["inputs@raw"])
    return ama.Store.open(store)


@pytest.mark.parametrize("kind", ["local", *servers.WRITABLE])
def test_a_copy_brings_what_an_asset_rests_on_and_nothing_else(
    kind: str, linked: ama.Store, tmp_path: Path
) -> None:
    if kind == "local":
        storage: Storage = LocalStorage(tmp_path / "archive")
    else:
        storage = servers.start(kind).storage(os.urandom(8).hex())
    archive = ama.Store(Remote.create(storage, tmp_path / "cache")[0], linked.settings)
    result = linked.copy("models/2", archive, ["best"])
    assert {(a.class_name, a.number) for a in result.published} == {
        ("inputs", 1),
        ("models", 1),
        ("models", 2),
    }
    assert [change.alias for change in result.aliases] == ["best"]
    assert archive.resolve("models@best").info.id == linked.resolve("models/2").info.id
    archive.download("models@best", tmp_path / "out", refs=True)
    assert (tmp_path / "inputs-1" / "data.csv").stat().st_size == 3_000_000
    report = archive.fsck()
    assert report.ok
    again = linked.copy("models/2", archive, ["best"])
    assert (again.published, again.aliases, again.bytes_sent) == ((), (), 0)


def test_a_copy_moves_only_what_is_lacking(linked: ama.Store, tmp_path: Path) -> None:
    archive = ama.Store.open(str(tmp_path / "archive"), create=True)
    first = linked.copy("models/1", archive)
    second = linked.copy("models/2", archive)
    assert first.bytes_sent > 2_000_000
    assert 3_000_000 < second.bytes_sent < 3_100_000
    assert [found.name for found in archive.classes()] == ["inputs", "models"]


def test_a_copy_of_what_is_not_there_copies_nothing(linked: ama.Store, tmp_path: Path) -> None:
    archive = ama.Store.open(str(tmp_path / "archive"), create=True)
    with pytest.raises(ama.NotFound):
        linked.copy("models/9", archive)
    assert archive.classes() == ()


def test_a_copy_brings_nothing_that_others_have_in_the_same_pack(tmp_path: Path) -> None:
    """An index of indexes names a part of each pack: what lies beside it stays where it is."""
    store = ama.Store.open(str(tmp_path / "store"), create=True)
    shared, private = os.urandom(1_500_000), os.urandom(1_200_000)

    def publish(class_name: str, files: dict[str, bytes]) -> None:
        repo = ama.Repo.init(tmp_path / class_name, class_name)
        for name, data in files.items():
            (repo.root / name).write_bytes(data)
        repo.add(["."])
        repo.upload(remote=store.url)

    publish("secret", {"shared": shared, "private.txt": private})
    small = {f"s{number}": os.urandom(1000) for number in range(17)}
    for name, data in small.items():
        publish(f"c-{name}", {name: data})
    publish("public", {**small, "shared": shared})

    archive = ama.Store.open(str(tmp_path / "archive"), create=True)
    assert store.copy("public/1", archive).bytes_sent < 1_800_000
    assert not places_of(archive, blob_id(private))
    assert archive.fsck().ok
    (private_chunk, _), *_ = recipe_of(store, blob_id(private))
    assert places_of(store, private_chunk)
    assert not places_of(archive, private_chunk)
    archive.download("public/1", tmp_path / "out")
    assert (tmp_path / "out" / "shared").read_bytes() == shared

    store.copy("secret/1", archive)
    assert archive.resolve("secret/1").read("private.txt") == private
    assert archive.fsck().ok


def places_of(store: ama.Store, object_id: bytes) -> list[Location]:
    """Where a store's indexes say that an object lies."""
    return store.remote.current(store.remote.view()).find(object_id)


def recipe_of(store: ama.Store, object_id: bytes) -> Sequence[tuple[bytes, int]]:
    recipe = store.remote.current(store.remote.view()).recipe(object_id)
    assert recipe is not None
    return recipe.chunks


def test_the_copy_command(linked: ama.Store, tmp_path: Path, run: Ama) -> None:
    archive = tmp_path / "archive"
    source = linked.url
    told = run.ok(
        "copy", "models/2", "--from", source, "--to", archive, "--alias", "best", cwd=tmp_path
    )
    assert "published models/2" in told.stdout
    assert "alias models@best is new" in told.stdout
    assert f"to the new store {archive}" in told.stdout
    again = run.ok("copy", "models/2", "--from", source, "--to", archive, cwd=tmp_path)
    assert "nothing new" in again.stdout
    document = run.ok(
        "copy", "models/2", "--from", source, "--to", archive, "--json", cwd=tmp_path
    ).json()
    assert document["published"] == []
    assert document["store_created"] is False


def test_a_copy_of_nothing_makes_no_store(linked: ama.Store, tmp_path: Path, run: Ama) -> None:
    archive = tmp_path / "archive"
    for asset in ("models/9", "nothing@here"):
        told = run("copy", asset, "--from", linked.url, "--to", archive, cwd=tmp_path)
        assert told.code == 3
    assert not archive.exists()


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [
        ("gs://b/x", "gcsfs", "gcsfs"),
        ("s3://b/x", "s3fs", "s3fs"),
        ("az://b/x", "adlfs", "adlfs"),
        ("sftp://h/x", "sshfs", "sshfs"),
        ("https://h/x", "aiohttp", "aiohttp"),
    ],
)
def test_a_missing_client_is_named_with_what_installs_it(
    url: str, module: str, package: str, tmp_path: Path, run: Ama
) -> None:
    broken = tmp_path / "without" / f"{module}.py"
    broken.parent.mkdir()
    broken.write_text(f"raise ModuleNotFoundError('no', name={module!r})\n")
    env = {"PYTHONPATH": os.pathsep.join([str(broken.parent), os.environ.get("PYTHONPATH", "")])}
    told = run("list", "--remote", url, env=env)
    assert told.code == 8
    assert f"pip install {package}" in told.stderr
    assert "Traceback" not in told.stderr


# ------------------------------------------------------------------------------ interrupted


def test_ctrl_c_leaves_all_valid_and_little_to_do_again(
    far: servers.Server, bad_network: proxy.Proxy, tmp_path: Path, home: Path, run: Ama
) -> None:
    """At once, though a request stands still; and the next try sends what is missing."""
    pack, packs = 32 << 20, 5
    content = os.urandom(packs * pack)
    (tmp_path / "large").write_bytes(content)
    url = f"{far.url}/tests/{os.urandom(8).hex()}?endpoint_url={bad_network.url}"
    env = {**far.environ, "AMA_REMOTE": url}
    run.ok("init", "models", env=env)
    run.ok("add", "large", env=env)
    stuck = threading.Event()

    def stand_still(asked: proxy.Request) -> proxy.Action:
        sent = [other for other in bad_network.requests if other.size >= pack]
        if asked.size < pack or len(sent) <= 3:
            return "pass"
        stuck.set()
        return "stall"

    bad_network.rule = stand_still
    argv = [sys.executable, "-m", "ama", "upload"]
    process = subprocess.Popen(
        argv, env={**os.environ, **env}, stderr=subprocess.PIPE, encoding="utf-8"
    )
    assert stuck.wait(60)
    time.sleep(0.5)  # for the requests before it
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 130, said
    assert "go on with it: ama upload" in said
    bad_network.rule = lambda asked: "pass"
    bad_network.requests.clear()
    assert "published models/1" in run.ok("upload", env=env).stdout
    again = sum(asked.size for asked in bad_network.requests)
    assert again <= (packs - 3) * pack + pack
    run.ok("download", "models", "-o", "copy", env=env, cwd=home)
    assert (home / "copy" / "large").read_bytes() == content
