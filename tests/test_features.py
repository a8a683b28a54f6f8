"""Features of a store: byte planes only where every reader knows them, and who is refused."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

import ama
from ama import Repo, Settings, Store
from ama.errors import UPGRADE, AmaError, FormatError
from ama.format.compression import BYTE_PLANES, PLANES, compress
from ama.format.entries import Feature
from ama.format.hashing import blob_id
from ama.format.notes import NOTES
from ama.format.objects import Kind
from ama.format.pack import PackBuilder, codec_of, read_trailer
from ama.format.references import REFERENCES
from ama.storage.memory import MemoryStorage
from ama.storage.protocol import Range
from ama.stores import log_errors
from ama.stores.object_reader import ObjectStore
from ama.stores.pack_writer import PackWriter
from ama.stores.remote import Remote, StoreFormat, decode_format, encode_format
from ama.wording.hints import words
from conftest import Ama
from test_golden import READER, V1, load


def singles(count: int, seed: int = 1) -> bytes:
    """Weights of a layer, as float 32."""
    source = random.Random(seed)
    return struct.pack(f"<{count}f", *(source.gauss(0, 0.02) for _ in range(count)))


FILES = {"model.bin": singles(300_000), "small.bin": singles(10_000, 2), "a.yml": b"a: 1\n"}


class Place:
    """A directory with stores and worktrees of a user."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def old(self, name: str = "old") -> Path:
        """A store of the version before: one that has no features."""
        shutil.copytree(V1, self.root / name)
        return self.root / name

    def new(self, name: str = "new") -> Path:
        Store.open(str(self.root / name), create=True)
        return self.root / name

    def worktree(self, url: Path, files: Mapping[str, bytes], name: str = "w") -> Repo:
        root = self.root / name
        root.mkdir()
        ama.settings.add_remote(root / ".ama" / "config.toml", "origin", str(url))
        repo = Repo.init(root, "weights")
        for path, data in files.items():
            (root / path).write_bytes(data)
        repo.add(["."])
        return repo

    def remote(self, url: Path) -> Remote:
        return Store.open(str(url)).remote


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def codecs(below: Path) -> Counter[int]:
    """How many records of content of each codec there are in the packs below a directory."""
    found: Counter[int] = Counter()
    for path in below.rglob("*.pack"):
        data = path.read_bytes()
        rows = [row for row in read_trailer(data, path.name) if row.kind is Kind.DATA]
        found.update(codec_of(data[row.offset :]) for row in rows)
    return found


def size_of_packs(below: Path) -> int:
    return sum(path.stat().st_size for path in below.rglob("*.pack"))


def before() -> ModuleType:
    """The independent reader as it was before there were features."""
    reader = load(READER)
    reader.FEATURES = set()
    return reader


def contents(url: Path, asset: str) -> dict[str, bytes]:
    found = Store.open(str(url)).resolve(asset)
    return {file.path: found.read(file.path) for file in found.files()}


def entries(url: Path) -> int:
    return len(list((url / "log").glob("0*")))


def test_a_new_store_has_it_and_stores_weights_as_planes(place: Place) -> None:
    url = place.new()
    fields = json.loads((url / "format.json").read_bytes())
    assert fields["features"] == {"read": [BYTE_PLANES, REFERENCES], "write": [NOTES]}
    place.worktree(url, FILES).upload()
    assert codecs(url)[PLANES] >= 5
    content = sum(map(len, FILES.values()))
    assert size_of_packs(url) < 0.85 * content
    assert contents(url, "weights/1") == FILES
    assert load(READER).Store(url).listing()["classes"]["weights"]["assets"][0]["entry"] == 1
    assert Store.open(str(url)).fsck().problems == ()


def test_the_first_upload_makes_a_store_that_has_it(place: Place) -> None:
    url = place.root / "made"
    place.worktree(url, FILES).upload()
    assert codecs(url)[PLANES] >= 5
    reader = before()
    with pytest.raises(reader.Newer, match=BYTE_PLANES):
        reader.Store(url)


def test_a_store_of_the_version_before_stays_readable_to_it(place: Place) -> None:
    url = place.old()
    repo = place.worktree(url, FILES)
    assert codecs(repo.root)[PLANES] == 1  # the small file, which `add` has stored here
    repo.upload()
    assert PLANES not in codecs(url)
    assert before().Store(url).listing()["classes"]["weights"]["assets"]
    assert contents(url, "weights/1") == FILES


@pytest.mark.parametrize("whole", [True, False])
def test_a_pack_with_planes_goes_unchanged_only_to_readers_who_know_them(
    place: Place, whole: bool
) -> None:
    old, new = place.old(), place.new()
    repo = place.worktree(old, FILES)
    if not whole:  # the pack has an object that no asset needs
        (repo.root / "small.bin").write_bytes(singles(10_000, 3))
        repo.add(["."])
    repo.commit("weights")
    local = {path.name for path in repo.root.rglob("*.pack")}
    assert codecs(repo.root)[PLANES] >= 5
    repo.push()
    assert PLANES not in codecs(old)
    assert before().Store(old).listing()["classes"]["weights"]["assets"]
    repo.push(remote=str(new))
    assert codecs(new)[PLANES] >= 5
    assert {path.name for path in new.rglob("*.pack")} & local
    assert contents(old, "weights/1") == contents(new, "weights/1")
    assert Store.open(str(old)).fsck().problems == ()


def test_an_upgrade_is_an_entry(place: Place) -> None:
    url = place.old()
    read = before().Store(url).listing()
    store = Store.open(str(url))
    assert store.upgrade() == (BYTE_PLANES, NOTES, REFERENCES)
    assert entries(url) == 71
    assert store.upgrade() == ()
    assert entries(url) == 71
    assert store.remote.view().root.read_features == (BYTE_PLANES, REFERENCES)
    (event,) = store.remote.view().entry(71).events  # type: ignore[union-attr]
    assert event == Feature(read=(BYTE_PLANES, REFERENCES), write=(NOTES,))
    assert json.loads((url / "format.json").read_bytes())["features"]["read"] == []

    reader = before()
    with pytest.raises(reader.Newer, match=BYTE_PLANES):
        reader.Store(url)
    assert load(READER).Store(url).listing()["classes"] == read["classes"]

    place.worktree(url, FILES).upload()
    assert codecs(url)[PLANES] >= 5
    assert contents(url, "weights/1") == FILES
    assert Store.open(str(url)).resolve("models@best").read("config/model.yml")


def test_the_version_before_refuses_to_read_and_to_write(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = place.old()
    repo = place.worktree(url, {"a": b"a"})
    repo.upload()  # so it has a memory of the log, without the feature
    (repo.root / "a").write_bytes(b"b")
    repo.add(["."])
    Store.open(str(url)).upgrade()
    there = set(url.rglob("*"))
    known = Settings.load(None)
    monkeypatch.setattr(log_errors, "KNOWN_FEATURES", frozenset())

    def refused(error: AmaError) -> None:
        assert BYTE_PLANES in error.message
        assert "this version of ama does not know" in error.message
        assert "damaged" not in error.message
        assert words(error.hints) == UPGRADE

    for work in (
        lambda: Store.open(str(url), settings=known).classes(),
        lambda: Store.open(str(url)).resolve("models@best"),
        lambda: Store.open(str(url)).move_alias("models", "best", "1"),
        lambda: Store.open(str(url)).fsck(),
        repo.upload,
        lambda: Repo.open(repo.root).upload(),
        repo.fetch,
        lambda: repo.push(repair=True),
    ):
        with pytest.raises(FormatError) as raised:
            work()
        refused(raised.value)
    with pytest.raises(FormatError) as raised:
        decode_format(encode_format(StoreFormat("0" * 32, read_features=(BYTE_PLANES,))), "it")
    refused(raised.value)
    assert set(url.rglob("*")) == there


def test_a_checkpoint_carries_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    url = place.old()
    store = Store.open(str(url))
    store.upgrade()
    for number in range(128 - 71):
        store.move_alias("models", "moving", str(1 + number % 2))
    assert load(READER).Store(url).checkpoints == [64, 128]
    storage = store.remote.storage
    assert Remote.open(storage, None).view().base.read_features == (BYTE_PLANES, REFERENCES)
    # The log ends with it, so there is no entry to look at.
    monkeypatch.setattr(log_errors, "KNOWN_FEATURES", frozenset())
    with pytest.raises(FormatError, match=BYTE_PLANES):
        Remote.open(storage, None).view()


def test_a_copy_is_stored_as_the_target_knows(place: Place) -> None:
    source, old, upgraded = place.new(), place.old(), place.old("upgraded")
    Store.open(str(upgraded)).upgrade()
    place.worktree(source, FILES).upload()
    for target in (old, upgraded):
        Store.open(str(source)).copy("weights", Store.open(str(target)))
        assert contents(target, "weights/1") == FILES
    assert PLANES not in codecs(old)
    assert before().Store(old).listing()["classes"]["weights"]["assets"]
    # Unchanged, as it comes to one whose readers know them; and back again.
    packs = {path.name for path in source.rglob("*.pack")}
    assert packs < {path.name for path in upgraded.rglob("*.pack")}
    Store.open(str(old)).copy("weights", Store.open(str(place.new("back"))))
    assert contents(place.root / "back", "weights/1") == FILES


@pytest.mark.parametrize("upgraded", [True, False])
def test_a_repair_stores_as_the_store_knows(place: Place, upgraded: bool) -> None:
    url = place.old()
    if upgraded:
        Store.open(str(url)).upgrade()
    repo = place.worktree(url, FILES)
    repo.upload()
    largest = max(url.rglob("*.pack"), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.chmod(0o644)
    largest.write_bytes(data)
    assert not Store.open(str(url)).fsck().ok
    assert repo.push(repair=True).repaired
    largest.unlink()  # its sound records too have been moved
    assert contents(url, "weights/1") == FILES
    assert (PLANES in codecs(url)) == upgraded
    reader = load(READER) if upgraded else before()
    assert reader.Store(url).listing()["classes"]["weights"]["assets"]


def test_a_writer_encodes_anew_what_its_readers_do_not_know() -> None:
    data = singles(10_000)
    pack = PackBuilder()
    record = pack.add(Kind.DATA, blob_id(data), *compress(data, planes=True), len(data))
    raw = bytes(pack.seal().data[record.offset : record.end])
    for features, sizes in (((), range(36_000, 38_000)), ((BYTE_PLANES,), range(33_000, 34_500))):
        storage = MemoryStorage("anew")
        with PackWriter(storage, features=features) as writer:
            assert writer.takes(raw) == bool(features)
            writer.copy(record, raw)
            (index,) = writer.finish()
        assert next(iter(index)).record.stored in sizes
        assert ObjectStore(storage, [index]).read(blob_id(data), Kind.DATA) == data


def test_trees_and_recipes_are_never_planes() -> None:
    data = singles(10_000)
    storage = MemoryStorage("kinds")
    with PackWriter(storage, features=(BYTE_PLANES,)) as writer:
        writer.add(Kind.TREE, bytes(32), data)
        writer.finish()
    ((name, _),) = storage.list("packs/")
    (pack,) = storage.read([Range(name)])
    assert pack is not None
    assert codec_of(pack[32:]) != PLANES


def test_the_command(place: Place, run: Ama) -> None:
    url = place.old()
    done = run.ok("remote", "upgrade", url, cwd=place.root)
    assert f"upgraded {url}: byte-planes, notes, references" in done.stdout
    assert "everybody needs this one" in done.output
    assert "has everything already" in run.ok("remote", "upgrade", url, cwd=place.root).output
    again = run.ok("remote", "upgrade", url, "--json", cwd=place.root)
    assert again.json() == {"url": str(url), "features": []}
    gone = run("remote", "upgrade", place.root / "nothing", cwd=place.root)
    assert gone.code != 0
