"""Publishing files without a worktree: in one call, with nothing kept beside them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy
import pytest
from blake3 import blake3

import ama
from ama.settings import Settings
from ama.storage.urls import open_storage
from conftest import Ama
from counting_storage import CountingStorage

MIB = 1024 * 1024
FILES = {"model.h5": b"weights", "sub/params.yml": b"layers: 3\n", "sub/deep/x": b""}


def content(seed: str, size: int) -> bytes:
    return blake3(seed.encode()).digest(length=size)


def fill(root: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


@pytest.fixture
def store(tmp_path: Path) -> ama.Store:
    return ama.Store.open(tmp_path / "store", create=True)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return fill(tmp_path / "out", FILES)


def files_of(asset: ama.Asset) -> dict[str, bytes]:
    return {file.path: asset.read(file.path) for file in asset.files()}


# What is published


def test_a_directory_files_and_contents(store: ama.Store, out: Path) -> None:
    before = sorted(out.rglob("*"))
    first = store.publish("models", [out])
    assert first.asset is not None
    assert (first.asset.number, first.store_created) == (1, False)
    assert files_of(store.resolve("models/1")) == FILES
    store.publish("models", [out / "model.h5", str(out / "sub" / "params.yml")])
    assert set(files_of(store.resolve("models/2"))) == {"model.h5", "params.yml"}
    given: dict[str, Any] = {"a/b": out / "model.h5", "c": b"content", "d": out / "sub"}
    store.publish("models", given)
    assert files_of(store.resolve("models/3")) == {
        "a/b": b"weights",
        "c": b"content",
        "d/params.yml": b"layers: 3\n",
        "d/deep/x": b"",
    }
    store.publish("models", str(out / "model.h5"))
    assert files_of(store.resolve("models/4")) == {"model.h5": b"weights"}
    assert sorted(out.rglob("*")) == before
    assert store.fsck().ok


def test_large_files_travel_in_chunks(store: ama.Store, tmp_path: Path) -> None:
    data = content("large", 5 * MIB)
    (tmp_path / "big").write_bytes(data)
    first = store.publish("models", {"disk": tmp_path / "big", "memory": content("other", 3 * MIB)})
    assert first.bytes_sent > 8 * MIB
    (tmp_path / "big").write_bytes(data[: 2 * MIB] + b"inserted" + data[2 * MIB :])
    second = store.publish(
        "models", {"disk": tmp_path / "big", "memory": content("other", 3 * MIB)}
    )
    assert second.bytes_sent < MIB
    assert store.resolve("models/2").read("disk")[2 * MIB :][:8] == b"inserted"
    assert store.resolve("models/2").read("memory") == content("other", 3 * MIB)
    assert store.fsck().ok


def test_modes_and_symlinks(store: ama.Store, out: Path) -> None:
    (out / "model.h5").chmod(0o755)
    (out / "link").symlink_to("sub/params.yml")
    store.publish("models", [out])
    kinds = {file.path: file.kind for file in store.resolve("models").files()}
    assert (kinds["model.h5"], kinds["link"]) == ("executable", "symlink")
    (out / "away").symlink_to("../../elsewhere")
    with pytest.raises(ama.InvalidInput, match="leads out"):
        store.publish("models", [out])


def test_a_symlink_that_is_given_stands_for_what_it_leads_to(
    store: ama.Store, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "model.h5").chmod(0o755)
    (tmp_path / "latest.h5").symlink_to("newest.h5")
    (tmp_path / "newest.h5").symlink_to(out / "model.h5")
    (tmp_path / "run").symlink_to("out/sub")
    given: dict[str, Any] = {"a/b": tmp_path / "latest.h5", "c": tmp_path / "run"}
    store.publish("models", given)
    expected = {"a/b": b"weights", "c/params.yml": b"layers: 3\n", "c/deep/x": b""}
    assert files_of(store.resolve("models/1")) == expected
    assert store.resolve("models/1").file("a/b").kind == "executable"
    monkeypatch.chdir(tmp_path)
    store.publish("models", ["latest.h5"])
    assert files_of(store.resolve("models/2")) == {"latest.h5": b"weights"}
    fill(out, {"sub/new": b"new"})
    store.publish("models", ["run/.."])  # above what it leads to
    assert set(files_of(store.resolve("models/3"))) == {*FILES, "sub/new"}
    (tmp_path / "lost").symlink_to("nowhere")
    (tmp_path / "round").symlink_to("round")
    for path in ("lost", "round"):
        with pytest.raises(ama.NotFound, match=path):
            store.publish("models", [path])


def test_what_it_says_of_itself(store: ama.Store, out: Path) -> None:
    inputs = store.publish("data", {"train.csv": b"1"}, aliases="train").asset
    assert inputs is not None
    done = store.publish(
        "models",
        [out],
        aliases=["best", "newest"],
        refs={"data@train": "inputs"},
        metadata={"loss": 0.25, "final": True},
        message="wider",
    )
    asset = done.asset
    assert asset is not None
    assert asset.aliases == ("best", "newest")
    assert (asset.message, asset.metadata["loss"], asset.metadata["final"]) == ("wider", 0.25, True)
    assert [(ref.asset, ref.label) for ref in asset.refs] == [(inputs.id, "inputs")]
    assert asset.size == sum(map(len, FILES.values()))
    again = store.publish("models", {"new": b"x"}, aliases="best", refs="data/1").asset
    assert again is not None
    assert again.parents == (asset.id,)  # the one that the alias was on
    assert store.resolve("models@newest").info.number == 1
    assert [each.number for each in store.log("models@best")] == [2, 1]


def test_metadata_may_be_numbers_of_numpy(store: ama.Store) -> None:
    given: dict[str, Any] = {
        "loss": numpy.float64(0.25),
        "rate": numpy.float32(0.5),
        "step": numpy.int64(3),
        "final": numpy.bool_(True),
    }
    done = store.publish("models", {"x": b"x"}, metadata=given, once=True).asset
    assert done is not None
    values = [done.metadata[name] for name in given]
    assert values == [0.25, 0.5, 3, True]
    assert [type(value) for value in values] == [float, float, int, bool]
    plain: dict[str, Any] = {"loss": 0.25, "rate": 0.5, "step": 3, "final": True}
    assert store.publish("models", {"x": b"x"}, metadata=plain, once=True).again


def test_once_publishes_the_same_thing_once(store: ama.Store, out: Path) -> None:
    first = store.publish("models", [out], once=True, metadata={"step": 1})
    again = store.publish("models", [out], once=True, metadata={"step": 1}, aliases="best")
    assert again.again
    assert again.published == ()
    assert first.asset is not None
    assert again.asset is not None
    assert again.asset.id == first.asset.id
    assert store.resolve("models@best").info.id == first.asset.id
    other = store.publish("models", [out], once=True, metadata={"step": 2})
    assert not other.again
    assert len(store.assets("models")) == 2
    plain = store.publish("models", [out], metadata={"step": 2})
    assert not plain.again
    assert len(store.assets("models")) == 3


def test_many_at_once_with_once_make_one(store: ama.Store, out: Path) -> None:
    store.publish("other", {"x": b"x"})
    numbers: list[int | None] = []

    def publish() -> None:
        done = ama.Store.open(store.url).publish("models", [out], once=True, aliases="best")
        numbers.append(done.asset.number if done.asset else None)

    threads = [threading.Thread(target=publish) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers == [1] * 5
    assert len(store.assets("models")) == 1
    assert store.fsck().ok


def test_many_at_once_make_one_store(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "made"))
    done: list[bool] = []

    def publish(number: int) -> None:
        done.append(ama.publish("models", {"n": b"%d" % number}).store_created)

    threads = [threading.Thread(target=publish, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False] * 4 + [True]
    store = ama.Store.open(tmp_path / "made")
    found = {store.resolve(f"models/{n}").read("n") for n in range(1, 6)}
    assert found == {b"%d" % n for n in range(5)}
    assert store.fsck().ok


def test_by_the_module(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "made"))
    done = ama.publish("models", [out], aliases="best", once=True)
    assert done.store_created
    assert ama.publish("models", [out], aliases="best", once=True).again
    assert ama.publish("models", {"x": b"x"}, store=tmp_path / "other").store_created
    opened = ama.Store.open(tmp_path / "other")
    assert ama.publish("models", {"x": b"y"}, store=opened).asset == opened.resolve("models/2").info


def test_it_asks_for_little(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five files of 1 MB to a store that is there, on a machine that has seen it."""
    url = f"memory://{uuid4()}"
    storage = CountingStorage(open_storage(url))
    monkeypatch.setattr("ama.store.open_storage", lambda *args: storage)
    settings = Settings(
        data_dir=tmp_path / "data",
        cache_dir=tmp_path / "cache",
        user_config_path=tmp_path / "config.toml",
        user_name="Ann",
        user_email="ann@example.org",
        default_remote=url,
    )
    store = ama.Store.open(url, create=True, settings=settings)
    store.publish("models", {"x": b"x"}, aliases="best")
    store = ama.Store.open(url, settings=settings)
    storage.reset()
    store.publish("models", {f"{n}.bin": content(str(n), 1_000_000) for n in range(5)})
    assert storage.round_trips == 6
    assert storage.requests == 14  # nine of the log's end, at once; five writes
    # A next version reads one more thing: the metadata of the version before.
    store = ama.Store.open(url, settings=settings)
    storage.reset()
    store.publish("models", {"0.bin": content("again", 1_000_000)}, aliases="best")
    assert storage.round_trips == 7
    assert storage.requests == 15
    assert len(storage.writes) == 5  # content, metadata, index, entry, HINT
    assert storage.bytes_read < 10_000


def test_a_store_is_no_part_of_the_directory_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fill(tmp_path / "here", FILES | {"store-2": b"x", "stores/y": b"y"}))
    for _ in range(2):
        done = ama.publish("models", ".", store="./store", once=True)
    assert done.again
    (tmp_path / "link").symlink_to("here")
    done = ama.publish("models", {"a": tmp_path / "link"}, store="./store")
    assert done.asset is not None
    names = {*FILES, "store-2", "stores/y"}
    opened = ama.Store.open("store")
    assert set(files_of(opened.resolve("models/1"))) == names
    assert set(files_of(opened.resolve("models/2"))) == {f"a/{name}" for name in names}
    with pytest.raises(ama.InvalidInput, match="no file is in store"):
        ama.publish("models", "./store", store="./store")


# What is refused

REFUSED: dict[str, tuple[Callable[[ama.Store, Path], object], type[Exception], str]] = {
    "no such file": (lambda s, o: s.publish("models", [o / "nope"]), ama.NotFound, "nope"),
    "nothing": (lambda s, o: s.publish("models", []), ama.InvalidInput, "no file is given"),
    "an empty directory": (
        lambda s, o: s.publish("models", [fill(o.parent / "e", {".amaignore": b"*"})]),
        ama.InvalidInput,
        "no file is in .*e, or all are ignored",
    ),
    "a text": (
        lambda s, o: s.publish("models", {"a.csv": "a,b\n1,2\n"}),
        ama.InvalidInput,
        "^a.csv is a text, which would be the path of a file: content is bytes$",
    ),
    "a long text": (
        lambda s, o: s.publish("models", {"a.txt": "a" * 5000}),
        ama.InvalidInput,
        "^a.txt is a text, .* content is bytes$",
    ),
    "a short text": (
        lambda s, o: s.publish("models", {"loss": "0.25"}),
        ama.NotFound,
        "^0.25: no such file, and content is bytes$",
    ),
    "an open file": (
        lambda s, o: s.publish("models", {"a": BytesIO(b"x")}),  # type: ignore[dict-item]
        ama.InvalidInput,
        "a is the path of a file or bytes, not of type BytesIO",
    ),
    "twice": (
        lambda s, o: s.publish("models", [o / "model.h5", o]),
        ama.InvalidInput,
        "given twice",
    ),
    "two contents": (
        lambda s, o: s.publish("models", {"a/b": b"1", "a\\b": b"2"}),
        ama.InvalidInput,
        "given twice",
    ),
    "an empty path": (lambda s, o: s.publish("models", [""]), ama.InvalidInput, "empty"),
    "an empty path by a name": (
        lambda s, o: s.publish("models", {"a": ""}),
        ama.InvalidInput,
        "empty",
    ),
    "a long path": (lambda s, o: s.publish("models", ["x" * 300]), ama.NotFound, "no such file"),
    "a NUL": (lambda s, o: s.publish("models", ["a\0b"]), ama.InvalidInput, "NUL"),
    "bytes": (lambda s, o: s.publish("models", b"x"), ama.InvalidInput, "bytes"),  # type: ignore[arg-type]
    "bytes without a name": (
        lambda s, o: s.publish("models", [b"x"]),  # type: ignore[list-item]
        ama.InvalidInput,
        "bytes",
    ),
    "None": (lambda s, o: s.publish("models", None), ama.InvalidInput, "NoneType"),  # type: ignore[arg-type]
    "None by a name": (
        lambda s, o: s.publish("models", {"a": None}),  # type: ignore[dict-item]
        ama.InvalidInput,
        "NoneType",
    ),
    "a number as a name": (
        lambda s, o: s.publish("models", {3: b"x"}),  # type: ignore[dict-item]
        ama.InvalidInput,
        "int",
    ),
    "metadata in a list": (
        lambda s, o: s.publish("models", [o], metadata=[1]),  # type: ignore[arg-type]
        ama.InvalidInput,
        "metadata",
    ),
    "a device": (
        lambda s, o: s.publish("models", ["/dev/null"]),
        ama.InvalidInput,
        "neither a file nor",
    ),
    "outside": (lambda s, o: s.publish("models", {"../x": b""}), ama.InvalidInput, "no path in an"),
    "absolute": (lambda s, o: s.publish("models", {"/x": b""}), ama.InvalidInput, "no path in an"),
    "git": (lambda s, o: s.publish("models", {".git/config": b""}), ama.InvalidInput, "git"),
    "one name": (
        lambda s, o: s.publish("models", {"A": b"", "a": b""}),
        ama.InvalidInput,
        "one name",
    ),
    "a file as a directory": (
        lambda s, o: s.publish("models", {"a": b"", "a/b": b""}),
        ama.InvalidInput,
        "a",
    ),
    "a secret's name": (
        lambda s, o: s.publish("models", {".env": b""}),
        ama.InvalidInput,
        "secret",
    ),
    "a secret": (
        lambda s, o: s.publish("models", [fill(o, {"k": b"ghp_" + b"a" * 36})]),
        ama.InvalidInput,
        "token",
    ),
    "a class": (lambda s, o: s.publish("no/class", [o]), ama.InvalidInput, "class"),
    "an alias": (lambda s, o: s.publish("models", [o], aliases="7"), ama.InvalidInput, "alias"),
    "metadata": (
        lambda s, o: s.publish("models", [o], metadata={"a": []}),  # type: ignore[dict-item]
        ama.InvalidInput,
        "a",
    ),
    "a ref": (lambda s, o: s.publish("models", [o], refs="data/9"), ama.NotFound, "data"),
    "a pipe": (
        lambda s, o: (os.mkfifo(o / "pipe"), s.publish("models", [o / "pipe"])),
        ama.AmaError,
        "pipe",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(store: ama.Store, out: Path, case: str) -> None:
    store.publish("data", {"x": b"x"})
    call, error, said = REFUSED[case]
    with pytest.raises(error, match=said):
        call(store, out)
    assert [found.name for found in store.classes()] == ["data"]
    assert store.fsck().ok


def test_what_looks_like_a_secret_is_taken_by_force(store: ama.Store) -> None:
    store.publish("models", {".env": b"A=1"}, force=True)
    assert store.resolve("models").read(".env") == b"A=1"


def test_an_alias_that_moved_on_and_a_deleted_source(store: ama.Store, out: Path) -> None:
    store.publish("data", {"x": b"x"})
    store.delete("data/1", reason="wrong", force=True)
    with pytest.raises(ama.NotFound, match="deleted"):
        store.publish("models", [out], refs="data/1")


def test_a_file_that_changes_meanwhile(
    store: ama.Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ama.transfer import publish_files

    real = publish_files.build_trees

    def changed(*args: Any) -> Any:
        (out / "model.h5").write_bytes(b"later")
        return real(*args)

    monkeypatch.setattr(publish_files, "build_trees", changed)
    with pytest.raises(ama.Conflict, match=r"model\.h5 was changed"):
        store.publish("models", [out])
    assert store.classes() == ()


@pytest.mark.parametrize("change", [1, -1, 1 - MIB])
def test_a_large_file_that_grows_or_shrinks_before_it_is_read(
    store: ama.Store, out: Path, monkeypatch: pytest.MonkeyPatch, change: int
) -> None:
    from ama.worktree import given

    data = content("log", 2 * MIB + MIB // 2)
    (out / "log").write_bytes(data[: MIB + MIB // 2])
    now = data[: MIB + MIB // 2 + change]
    real = given.secret_names

    def changed(paths: Any) -> Any:
        (out / "log").write_bytes(now)
        return real(paths)

    monkeypatch.setattr(given, "secret_names", changed)
    store.publish("models", [out])
    asset = store.resolve("models")
    assert asset.file("log").size == len(now)
    with asset.open("log") as file:
        assert file.read() == now
    assert store.fsck().ok


# From the shell


def test_the_command(run: Ama, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    said = run.ok("publish", "data", "out/sub", "--alias", "train").stdout
    assert "published data/1" in said
    said = run.ok(
        *("publish", "models", "out", "--alias", "best", "--ref", "data@train=inputs"),
        *("--meta", "loss=0.25", "-m", "wider", "--once"),
    ).stdout
    assert "published models/1" in said
    assert "best" in said
    again = run.ok(
        "publish", "models", "out", "--ref", "data@train=inputs", "--meta", "loss=0.25", "--once"
    )
    assert "models/1" in again.stdout
    assert "says the same" in again.stdout
    shown = run.ok("show", "models@best").stdout
    assert "inputs" in shown
    assert "0.25" in shown
    assert run.ok("publish", "models", "out/model.h5", "--json").json()["asset"]["number"] == 2
    assert not (tmp_path / ".ama").exists()
    assert not (out / ".ama").exists()
    for args, code in (
        (("models",), 2),
        (("models", "nope"), 3),
        (("models", "out", "--ref", "data@nope"), 3),
        (("models", "out", "--ref", "data@train=a", "--ref", "data@train=b"), 2),
        (("models", ""), 2),
        (("models", "out", "--meta", "x"), 2),
        (("mod/els", "out"), 2),
    ):
        failed = run("publish", *args)
        assert failed.code == code, failed.output
        assert failed.stderr.startswith("error: ")


def test_words_of_the_command_are_as_with_add(
    run: Ama, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    for name in ("a.yml", "b.yml", "c,", "model.h5"):
        (tmp_path / name).write_text(name)
    run.ok("publish", "models", "*.yml,", "model.h5,", "c,")
    assert paths_of(tmp_path / "store", "models/1") == ["a.yml", "b.yml", "c,", "model.h5"]
    for word, said in {
        "modle.h5": "modle.h5: no such file\nhint: did you mean model.h5?",
        "out/modle.h5": "out/modle.h5: no such file\nhint: did you mean out/model.h5?",
        "*.h6": "no file matches '*.h6'\nhint: see what is here: ls",
    }.items():
        failed = run("publish", "models", word)
        assert (failed.code, failed.stderr.strip()) == (3, f"error: {said}")


def test_what_is_extended_wrongly_says_what_is_there(
    run: Ama, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    run.ok("publish", "models", "out", "--alias", "best")
    other = run("publish", "others", "out", "--extend", "models@best")
    assert other.stderr.splitlines()[-1] == "hint: see what there is: ama list"
    for word, near in {"modle.h5": "model.h5", "sub/parms.yml": "sub/params.yml"}.items():
        failed = run("publish", "models", "--extend", "models@best", "--without", word)
        assert failed.stderr.strip().endswith(f"has no {word}\nhint: did you mean {near}?")


def test_the_command_extends(
    run: Ama, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    (tmp_path / "notes.md").write_text("fine")
    run.ok("publish", "models", "out", "--alias", "best")
    before = paths_of(tmp_path / "store", "models@best")
    args = ("publish", "models", "notes.md", "--extend", "models@best", "--alias", "best")
    assert "published models/2" in run.ok(*args).stdout
    assert paths_of(tmp_path / "store", "models@best") == sorted([*before, "notes.md"])
    args = ("publish", "models", "--extend", "@best", "--without", "sub/", "--without", "notes.md")
    assert "published models/3" in run.ok(*args, "--once").stdout
    kept = [path for path in before if not path.startswith("sub/")]
    assert paths_of(tmp_path / "store", "models/3") == kept != before
    assert "says the same" in run.ok(*args, "--once").stdout
    for wrong, code in (
        (("models", "out", "--without", "a"), 2),
        (("models", "--extend", "models@best"), 2),
        (("models", "out", "--extend", ""), 2),
        (("models", "out", "--extend", "models@nope"), 3),
        (("models", "out", "--extend", "HEAD"), 3),
        (("models", "--extend", "models@best", "--without", "nope"), 3),
        (("others", "out", "--extend", "models@best"), 2),
    ):
        failed = run("publish", *wrong)
        assert failed.code == code, failed.output
        assert failed.stderr.startswith("error: ")


def paths_of(store: Path, name: str) -> list[str]:
    return sorted(file.path for file in ama.Store.open(store).files(name))


def test_what_others_publish_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new machine publishes a next version to a store with many assets."""
    url = f"memory://{uuid4()}"
    storage = CountingStorage(open_storage(url))
    monkeypatch.setattr("ama.store.open_storage", lambda *args: storage)
    settings = Settings(
        data_dir=tmp_path / "data",
        cache_dir=None,
        user_config_path=tmp_path / "config.toml",
        user_name="Ann",
        user_email="ann@example.org",
        default_remote=url,
    )

    def asked(others: int) -> int:
        name = f"models-{others}"
        store = ama.Store.open(url, create=True, settings=settings)
        store.publish(name, {"x": b"x", "large": content(name, 500_000)}, aliases="best")
        for n in range(others):
            store.publish(f"class-{n}", {"x": f"{others} {n}".encode()})
        store = ama.Store.open(url, settings=settings)
        storage.reset()
        files = {"x": b"y", "same": content(name, 500_000)}
        assert store.publish(name, files, aliases="best").bytes_sent < 10_000
        return sum(
            name.startswith(("index/", "packs/")) for _, names in storage.log for name in names
        )

    assert asked(70) == asked(140) < 10

    def asked_once(others: int) -> int:
        name = f"models-{others}"
        store = ama.Store.open(url, settings=settings)
        storage.reset()
        assert store.publish(name, {"x": b"y", "same": content(name, 500_000)}, once=True).again
        return sum(
            name.startswith(("index/", "packs/")) for _, names in storage.log for name in names
        )

    monkeypatch.setattr("ama.transfer.publish.SEARCH_WORTH", 0)
    assert asked_once(70) == asked_once(140) < 10
