"""Files of an asset as programs open files: at any place, and only what is read is fetched."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from blake3 import blake3

import ama
from ama.errors import IntegrityError, NotFound, StorageError
from ama.format.objects import Kind, Recipe
from ama.settings import Settings
from ama.storage.protocol import Range
from ama.storage.urls import open_storage
from ama.stores.sources import Sources
from ama.stores.stored_file import MOST_HELD
from counting_storage import CountingStorage

MIB = 1024 * 1024
SIZES = {"empty": 0, "one": 1, "small": 3000, "below": MIB - 1, "cut": MIB, "large": 9 * MIB + 17}


def content(name: str, size: int) -> bytes:
    return blake3(name.encode()).digest(length=size)


class Counted:
    """A store whose storage counts what is read."""

    def __init__(
        self, root: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = f"memory://{uuid4()}"
        self.storage = CountingStorage(open_storage(url))
        for module in ("ama.store", "ama.operations.connections"):
            monkeypatch.setattr(f"{module}.open_storage", lambda *args: self.storage)
        self.settings = Settings(
            data_dir=root / "data",
            cache_dir=root / "cache",
            user_config_path=root / "config.toml",
            user_name="Ann",
            user_email="ann@example.org",
            default_remote=url,
        )
        work = root / "work"
        for path, data in files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_bytes(data)
        repo = ama.Repo.init(work, "models", settings=self.settings)
        repo.add(["."])
        repo.upload()
        self.url = url

    def asset(self, cache: Path) -> ama.Asset:
        """The asset on a machine that has never seen the store."""
        settings = Settings(
            data_dir=cache / "data",
            cache_dir=cache,
            user_config_path=cache / "config.toml",
            user_name="Bob",
            user_email="bob@example.org",
            default_remote=self.url,
        )
        return ama.Store.open(self.url, settings=settings).resolve("models")


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    files = {name: content(name, size) for name, size in SIZES.items()}
    return Counted(tmp_path, files, monkeypatch)


@pytest.fixture
def asset(counted: Counted, tmp_path: Path) -> ama.Asset:
    return counted.asset(tmp_path / "other")


@pytest.mark.parametrize("name", SIZES)
def test_it_reads_as_a_file_of_the_disk(asset: ama.Asset, name: str) -> None:
    expected = content(name, SIZES[name])
    chance = random.Random(name)
    plain = io.BytesIO(expected)
    with asset.open(name) as file:
        assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
        assert file.raw.name == f"models/1:{name}"
        for _ in range(60):
            how = chance.choice(["read", "seek", "end", "relative", "into", "line"])
            at = chance.randrange(SIZES[name] + 10)
            count = chance.choice([0, 1, 100, 70_000, 2 * MIB, chance.randrange(SIZES[name] + 2)])
            if how == "read":
                assert file.read(count) == plain.read(count)
            elif how == "seek":
                assert file.seek(at) == plain.seek(at)
            elif how == "end":
                assert file.seek(-min(at, SIZES[name]), 2) == plain.seek(-min(at, SIZES[name]), 2)
            elif how == "relative":
                assert file.seek(count, 1) == plain.seek(count, 1)
            elif how == "into":
                one, two = bytearray(count), bytearray(count)
                assert file.readinto(one) == plain.readinto(two)
                assert one == two
            else:
                assert file.readline(100) == plain.readline(100)
            assert file.tell() == plain.tell()
        file.seek(0)
        assert file.read() == expected
        assert file.read() == b""
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


def test_the_mode_is_that_of_bytes(asset: ama.Asset) -> None:
    path = asset.files()[0].path
    with asset.open(path, "rb") as file, asset.open(path) as other:
        assert file.read() == other.read()
    for mode in ("r", "w", "wb", "rb+"):
        with pytest.raises(ama.InvalidInput, match="to read its bytes, 'rb', not"):
            asset.open(path, mode)


def test_wrong_positions_and_paths(asset: ama.Asset) -> None:
    with asset.open("small") as file:
        with pytest.raises(ValueError, match="before the beginning"):
            file.seek(-1)
        with pytest.raises(ValueError, match=r"before the beginning|whence"):
            file.seek(-4000, 2)
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"x")  # type: ignore[arg-type, unused-ignore]
        assert file.read(3) == content("small", 3)
    with pytest.raises(NotFound) as refused:
        asset.open("smal")
    assert "small" in str(refused.value.hints)


def test_only_what_is_read_is_fetched(counted: Counted, tmp_path: Path) -> None:
    """The header and one tensor of a large file: some chunks, whatever the size of the file."""
    with counted.asset(tmp_path / "cold").open("large") as file:
        file.read(8)
        counted.storage.reset()
        file.read(30_000)
        file.seek(7 * MIB)
        assert len(file.read(100_000)) == 100_000
        assert counted.storage.bytes_read <= 2 * MIB
        assert counted.storage.round_trips <= 4


def test_a_second_file_takes_two_round_trips(counted: Counted, tmp_path: Path) -> None:
    asset = counted.asset(tmp_path / "cold")
    with asset.open("small") as file:
        file.read(1)
    counted.storage.reset()
    with asset.open("below") as file:
        file.read(1)
    assert counted.storage.round_trips <= 2


def test_reading_forwards_takes_few_requests_and_bounded_memory(
    counted: Counted, tmp_path: Path
) -> None:
    with counted.asset(tmp_path / "cold").open("large") as file:
        counted.storage.reset()
        digest = blake3()
        while piece := file.read(50_000):
            digest.update(piece)
        assert digest.digest() == blake3(content("large", SIZES["large"])).digest()
        assert counted.storage.round_trips <= 12
        assert counted.storage.bytes_read <= SIZES["large"] * 1.02
        held = file.raw._held  # type: ignore[attr-defined]
        assert sum(map(len, held.values())) <= MOST_HELD


def test_large_reads_come_at_once(counted: Counted, tmp_path: Path) -> None:
    with counted.asset(tmp_path / "cold").open("large") as file:
        file.seek(2 * MIB)
        file.read(1)
        counted.storage.reset()
        file.seek(4 * MIB + 5)
        expected = content("large", SIZES["large"])[4 * MIB + 5 :][: 4 * MIB]
        assert file.read(4 * MIB) == expected
        assert counted.storage.round_trips <= 3


class Failing:
    """A storage that is away for some reads."""

    def __init__(self, storage: CountingStorage) -> None:
        self.left = 0
        self._read = storage.inner.read

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        if self.left:
            self.left -= 1
            raise StorageError("the network is down", retryable=True)
        return self._read(ranges)


def test_after_an_error_reading_goes_on(
    counted: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(counted.storage)
    monkeypatch.setattr(counted.storage.inner, "read", failing.read)
    expected = content("large", SIZES["large"])
    got = b""
    errors = 0
    with counted.asset(tmp_path / "cold").open("large") as file:
        while len(got) < len(expected):
            failing.left = 1 if errors < 5 and len(got) // MIB > errors else failing.left
            try:
                got += file.read1(100_000)
            except OSError as error:
                errors += "the network is down" in str(error)
        assert file.read(1) == b""
    assert got == expected
    assert errors >= 5  # what is read ahead may fail too


@pytest.mark.parametrize("how", ["all", "many", "into", "line"])
def test_a_read_that_fails_in_the_middle_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Who reads again gets all of it, and not what follows on the bytes that came first."""
    line = content("line", 9 * MIB).replace(b"\n", b" ")
    counted = Counted(tmp_path, {"line": line}, monkeypatch)
    asset = counted.asset(tmp_path / "cold")
    into = bytearray(len(line))
    real = counted.storage.inner.read
    reads = failing = errors = 0

    def read_or_fail(ranges: Sequence[Range]) -> list[bytes | None]:
        nonlocal reads
        reads += 1
        if reads == failing:
            raise StorageError("the network is down", retryable=True)
        return real(ranges)

    def read(file: io.BufferedReader) -> bytes:
        if how == "all":
            return file.read()
        if how == "many":
            return file.read(len(line))
        if how == "into":
            return bytes(into[: file.readinto(into)])
        return file.readline()

    asset.read("line")
    monkeypatch.setattr(counted.storage.inner, "read", read_or_fail)
    for each in range(1, 9):
        with asset.open("line") as file:
            file.seek(7)
            reads, failing = 0, each
            try:
                got = read(file)
            except StorageError:
                errors += 1
                assert file.tell() == 7
                got = read(file)
            assert got == line[7:]
    assert errors >= 2


def test_damage_is_an_error_and_never_wrong_bytes(
    counted: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = counted.asset(tmp_path / "cold")
    with asset.open("large") as file:
        file.read(10)
        real = counted.storage.inner.read

        def damaged(ranges: Sequence[Range]) -> list[bytes | None]:
            return [data and data[:-9] + bytes(9) for data in real(ranges)]

        monkeypatch.setattr(counted.storage.inner, "read", damaged)
        file.seek(5 * MIB)
        with pytest.raises(IntegrityError):
            file.read(10)


def test_the_end_comes_only_if_the_whole_is_right(
    asset: ama.Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forged recipe: each of its chunks is sound, and they make another file."""
    real = Sources.recipe

    def forged(self: Sources, object_id: bytes) -> Recipe | None:
        found = real(self, object_id)
        assert found is not None
        first, second, *rest = found.chunks
        return Recipe(found.profile, Kind.DATA, (second, first, *rest))

    monkeypatch.setattr(Sources, "recipe", forged)
    with asset.open("large") as file:
        while file.tell() < SIZES["large"] - 2 * MIB:
            file.read(MIB // 2)
        for _ in range(2):
            with pytest.raises(IntegrityError, match="chunks make another"):
                file.read()


def test_a_recipe_of_another_size_stays_an_error(
    asset: ama.Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Sources.recipe

    def forged(self: Sources, object_id: bytes) -> Recipe | None:
        found = real(self, object_id)
        assert found is not None
        return Recipe(found.profile, Kind.DATA, found.chunks[1:])

    monkeypatch.setattr(Sources, "recipe", forged)
    with asset.open("large") as file:
        for _ in range(2):
            with pytest.raises(IntegrityError, match="its recipe makes"):
                file.read(1)


@pytest.mark.parametrize("size", [10, 4000])
def test_a_small_file_of_another_size_is_an_error(
    asset: ama.Asset, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """A forged directory: the size of a file is not that of its content."""
    real = ama.Asset._find
    monkeypatch.setattr(ama.Asset, "_find", lambda self, path: real(self, path)._replace(size=size))
    with asset.open("small") as file, pytest.raises(IntegrityError, match="it has 3,000 bytes"):
        file.read()


def test_several_threads_and_a_fork_read_at_once(asset: ama.Asset) -> None:
    expected = content("large", SIZES["large"])
    wrong: list[int] = []

    def read(start: int) -> None:
        with asset.open("large") as file:
            file.seek(start)
            if file.read() != expected[start:]:
                wrong.append(start)

    threads = [threading.Thread(target=read, args=(n * MIB,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    with asset.open("large") as file:
        file.read(2 * MIB)  # somebody reads ahead
        if (child := os.fork()) == 0:
            os._exit(0 if file.read() == expected[2 * MIB :] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert file.read() == expected[2 * MIB :]


def test_other_libraries_take_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    numpy = pytest.importorskip("numpy")
    pandas = pytest.importorskip("pandas")
    values = numpy.arange(400_000, dtype="float64").reshape(400, 1000)
    made = tmp_path / "made"
    made.mkdir()
    numpy.save(made / "values.npy", values)
    with h5py.File(made / "model.h5", "w") as file:
        file["weights"] = values
    pandas.DataFrame({"a": range(3000), "b": "text"}).to_csv(made / "table.csv", index=False)
    with zipfile.ZipFile(made / "packed.zip", "w") as packed:
        packed.writestr("inner.json", json.dumps({"loss": 0.5}))
        packed.writestr("values", values.tobytes())
    (made / "state.pkl").write_bytes(pickle.dumps({"step": 7}))
    files = {path.name: path.read_bytes() for path in made.iterdir()}
    asset = Counted(tmp_path, files, monkeypatch).asset(tmp_path / "cold")

    with asset.open("values.npy") as file:
        assert (numpy.load(file) == values).all()
    with asset.open("model.h5") as file, h5py.File(file, "r") as opened:
        assert (opened["weights"][17] == values[17]).all()
    with asset.open("table.csv") as file:
        assert pandas.read_csv(file)["a"].sum() == sum(range(3000))
    with asset.open("packed.zip") as file, zipfile.ZipFile(file) as packed:
        assert json.loads(packed.read("inner.json")) == {"loss": 0.5}
        assert packed.read("values") == values.tobytes()
    with asset.open("state.pkl") as file:
        assert pickle.load(file) == {"step": 7}
    with asset.open("table.csv") as file:
        assert file.readline() == b"a,b\n"
        assert next(iter(file)) == b"0,text\n"
