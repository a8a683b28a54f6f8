"""Real readers on real stores: whatever opens files or URLs opens those of an asset.

The libraries are those that people use; nothing stands in for them.
"""

from __future__ import annotations

import asyncio
import copy
import io
import json
import multiprocessing
import os
import pickle
import pickletools
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import dask
import dask.dataframe as dd
import fsspec
import h5py
import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import zarr
from fsspec.generic import GenericFileSystem, rsync
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from PIL import Image

import ama
from ama.errors import StorageError
from ama.filesystem import AmaFileSystem
from ama.settings import Settings
from ama.storage.urls import open_storage
from conftest import SOURCE
from counting_storage import CountingStorage
from servers import free_port, running

# Python 3.12 and later warn of each fork beside threads; readers do it all the same.
forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

MIB = 1024 * 1024
ROWS = 3000


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {"n": range(ROWS), "text": [f"t{n % 7}" for n in range(ROWS)], "x": np.linspace(0, 1, ROWS)}
    )


def values() -> Any:
    return np.arange(40_000, dtype="float64").reshape(200, 200)


def make(root: Path) -> Path:
    """Files as training writes them, each by the library that reads it."""
    root.mkdir()
    frame = table()
    frame.to_csv(root / "t.csv", index=False)
    frame.to_parquet(root / "t.parquet")
    for part in range(3):
        (root / "parts").mkdir(exist_ok=True)
        frame.iloc[part * 1000 : (part + 1) * 1000].to_parquet(root / "parts" / f"{part}.parquet")
    for key in (0, 1):
        (root / "hive" / f"key={key}").mkdir(parents=True)
        frame.iloc[:10].to_parquet(root / "hive" / f"key={key}" / "x.parquet")
    np.save(root / "v.npy", values())
    np.savez(root / "v.npz", one=values(), two=np.ones(3))
    with h5py.File(root / "v.h5", "w") as file:
        file["weights"] = values()
    zarr.open_group(root / "v.zarr", mode="w").create_array("w", data=values(), chunks=(50, 50))
    joblib.dump({"w": values()}, root / "m.joblib", compress=3)
    safetensors.numpy.save_file({"a": values(), "b": np.ones(3)}, root / "m.safetensors")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(root / "i.png")
    with zipfile.ZipFile(root / "state.pt", "w") as packed:  # as torch lays it out
        packed.writestr("archive/data.pkl", pickle.dumps({"step": 7}))
        packed.writestr("archive/data/0", values().tobytes())
    (root / "config.json").write_text('{"layers": [1, 2]}')
    (root / "log.txt").write_text("zeile eins: ä\nline two\n", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made") / "files")


@pytest.fixture
def store(tmp_path: Path, made: Path) -> ama.Store:
    store = ama.Store.open(tmp_path / "store", create=True)
    store.publish("data", made, aliases="best")
    return store


@pytest.fixture
def asset(store: ama.Store) -> ama.Asset:
    return store.resolve("data@best")


@pytest.fixture
def given(store: ama.Store) -> dict[str, str]:
    """The storage options of every reader."""
    return {"store": store.url}


@pytest.fixture
def files(store: ama.Store) -> AmaFileSystem:
    return fsspec.filesystem("ama", store=store.url)


@pytest.fixture(autouse=True)
def no_instances_are_kept() -> Iterator[None]:
    yield
    AmaFileSystem.clear_instance_cache()


# Files


def read_zip(file: Any) -> object:
    with zipfile.ZipFile(file) as packed:
        assert np.frombuffer(packed.read("archive/data/0")).sum() == values().sum()
        return pickle.loads(packed.read("archive/data.pkl"))


def read_h5(file: Any) -> object:
    with h5py.File(file, "r") as opened:
        return float(opened["weights"][17].sum())


FILES: dict[str, tuple[str, Callable[[Any], object], object]] = {
    "pandas csv": ("t.csv", lambda f: pd.read_csv(f).shape, (ROWS, 3)),
    "pandas parquet": ("t.parquet", lambda f: pd.read_parquet(f).shape, (ROWS, 3)),
    "pyarrow": ("t.parquet", lambda f: pq.ParquetFile(f).metadata.num_rows, ROWS),
    "pyarrow column": (
        "t.parquet",
        lambda f: pq.read_table(f, columns=["n"]).column_names,
        ["n"],
    ),
    "pyarrow python file": ("t.csv", lambda f: pa.PythonFile(f).read(5), b"n,tex"),
    "polars csv": ("t.csv", lambda f: pl.read_csv(f).shape, (ROWS, 3)),
    "polars parquet": ("t.parquet", lambda f: pl.read_parquet(f).shape, (ROWS, 3)),
    "polars lazily": ("t.parquet", lambda f: pl.scan_parquet(f).select("n").collect().height, ROWS),
    "numpy": ("v.npy", lambda f: float(np.load(f).sum()), float(values().sum())),
    "numpy archive": ("v.npz", lambda f: float(np.load(f)["two"].sum()), 3.0),
    "h5py": ("v.h5", read_h5, float(values()[17].sum())),
    "joblib": ("m.joblib", lambda f: float(joblib.load(f)["w"].sum()), float(values().sum())),
    "zipfile": ("state.pt", read_zip, {"step": 7}),
    "pillow": ("i.png", lambda f: Image.open(f).getpixel((0, 0)), (1, 2, 3)),
    "json": ("config.json", json.load, {"layers": [1, 2]}),
    "text": ("log.txt", lambda f: io.TextIOWrapper(f, "utf-8").readlines()[0], "zeile eins: ä\n"),
    "safetensors": (
        "m.safetensors",
        lambda f: sorted(safetensors.numpy.load(f.read())),
        ["a", "b"],
    ),
}


@pytest.mark.parametrize("by", ["asset", "fsspec"])
@pytest.mark.parametrize("case", FILES)
def test_a_file_is_read_by(asset: ama.Asset, files: AmaFileSystem, case: str, by: str) -> None:
    path, read, expected = FILES[case]
    with asset.open(path) if by == "asset" else files.open(f"data@best/{path}") as file:
        assert read(file) == expected


def test_an_array_by_range(asset: ama.Asset) -> None:
    """The header of an array, and one of its rows, as numpy's own reader of headers does it."""
    with asset.open("v.npy") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        file.seek(150 * shape[1] * dtype.itemsize, 1)
        row = np.empty(shape[1], dtype)
        assert file.readinto(row.data.cast("B")) == row.nbytes
    assert (row == values()[150]).all()


# URLs


def test_pandas(given: dict[str, str], files: AmaFileSystem) -> None:
    assert pd.read_csv("ama://data@best/t.csv", storage_options=given).shape == (ROWS, 3)
    for path in ("t.parquet", "parts", "hive"):
        found = pd.read_parquet(f"ama://data@best/{path}", storage_options=given)
        assert len(found) == {"hive": 20}.get(path, ROWS)
    assert len(pd.read_parquet("data@best/t.parquet", filesystem=files)) == ROWS
    assert pd.read_json("ama://data@best/config.json", storage_options=given).shape == (2, 1)
    assert pd.read_pickle(io.BytesIO(pickle.dumps(table()))).shape == (ROWS, 3)


def test_pyarrow(files: AmaFileSystem) -> None:
    found = ds.dataset("data@best/parts", filesystem=files)
    assert found.count_rows() == ROWS
    assert found.to_table(filter=ds.field("n") < 5).num_rows == 5
    hive = ds.dataset("data/1/hive", filesystem=files, partitioning="hive")
    assert set(hive.to_table().column("key").to_pylist()) == {0, 1}
    assert pq.read_table("data@best/parts", filesystem=files, columns=["x"]).num_rows == ROWS
    wrapped = pa.fs.PyFileSystem(pa.fs.FSSpecHandler(files))
    kinds = [found.type for found in wrapped.get_file_info(["data@best/t.csv", "data@best/no"])]
    assert kinds == [pa.fs.FileType.File, pa.fs.FileType.NotFound]
    with pytest.raises(OSError, match="never changed"):
        ds.write_dataset(found.to_table(), "data/1/new", filesystem=files, format="parquet")


@forks
@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes"])
def test_dask(given: dict[str, str], scheduler: str) -> None:
    with dask.config.set(scheduler=scheduler):
        many = dd.read_csv("ama://data@best/t.csv", storage_options=given, blocksize=10_000)
        assert many.npartitions > 3
        assert int(many["n"].sum().compute()) == ROWS * (ROWS - 1) // 2
        for path in ("parts", "parts/*.parquet"):
            assert len(dd.read_parquet(f"ama://data@best/{path}", storage_options=given)) == ROWS


def test_dask_tells_values_apart(store: ama.Store, files: AmaFileSystem) -> None:
    again = ama.Store.open(store.url)
    store.publish("data", {"x": b"x"})
    one, two = store.resolve("data/1"), store.resolve("data/2")
    tokens = [dask.base.tokenize(each) for each in (store, one, two, files, one.info, two.info)]
    assert len(set(tokens)) == len(tokens)
    assert dask.base.tokenize(again) == tokens[0]
    assert dask.base.tokenize(again.resolve("data@best")) == tokens[1]
    assert dask.base.tokenize(again.resolve("data/2").info) == tokens[5]


def test_polars(given: dict[str, str], files: AmaFileSystem) -> None:
    """Its own reader of URLs knows no file systems of Python; by pyarrow it reads all of them."""
    url = "ama://data@best/t.parquet"
    assert pl.read_parquet(url, storage_options=given, use_pyarrow=True).shape == (ROWS, 3)
    lazy = pl.scan_pyarrow_dataset(ds.dataset("data@best/parts", filesystem=files))
    assert lazy.filter(pl.col("n") < 9).select(pl.len()).collect().item() == 9


def test_zarr(given: dict[str, str]) -> None:
    group = zarr.open_group("ama://data@best/v.zarr", mode="r", storage_options=given)
    assert group["w"][60:70, 5].tolist() == values()[60:70, 5].tolist()
    mapper = fsspec.get_mapper("ama://data/1/v.zarr", **given)
    assert "w/zarr.json" in mapper
    assert zarr.open_group(mapper, mode="r")["w"][:].sum() == values().sum()
    with pytest.raises((OSError, ValueError)):
        zarr.open_group("ama://data@best/v.zarr", mode="r+", storage_options=given)["w"][0, 0] = 9
    assert group["w"][0, 0] == 0


@pytest.mark.filterwarnings("ignore::UserWarning:upath")
def test_universal_pathlib(given: dict[str, str]) -> None:
    from upath import UPath

    top = UPath("ama://data@best", **given)
    assert (top / "t.csv").read_text()[:6] == "n,text"
    assert {each.name for each in top.iterdir()} >= {"t.csv", "parts", "v.zarr"}
    assert sorted(each.name for each in top.glob("parts/*.parquet")) == [
        "0.parquet",
        "1.parquet",
        "2.parquet",
    ]
    inner = top / "parts" / "0.parquet"
    assert (inner.exists(), inner.is_file(), inner.parent.is_dir()) == (True, True, True)
    assert (inner.suffix, inner.stat().st_size > 0, (top / "no").exists()) == (
        ".parquet",
        True,
        False,
    )
    assert pickle.loads(pickle.dumps(top / "config.json")).read_bytes() == b'{"layers": [1, 2]}'
    with pytest.raises(OSError, match="never changed"):
        (top / "new").write_text("x")


def test_rsync_and_generic(given: dict[str, str], tmp_path: Path, made: Path) -> None:
    """fsspec's own copying between file systems is asynchronous."""
    options = {"ama": given, "file": {"auto_mkdir": True}}
    how = {"default_method": "options", "storage_options": options}
    target = tmp_path / "target"
    for _ in range(2):  # the second time nothing is copied
        done = rsync("ama://data@best", f"file://{target}", inst_kwargs=how)
        names = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
        assert {str(p.relative_to(target)) for p in target.rglob("*") if p.is_file()} == names
        assert (target / "t.parquet").read_bytes() == (made / "t.parquet").read_bytes()
    assert done == {} or len(done) <= len(names)
    generic = GenericFileSystem(**how)
    assert generic.cat_file("ama://data@best/config.json") == b'{"layers": [1, 2]}'
    generic.cp("ama://data@best/config.json", f"file://{tmp_path}/copy.json")
    assert (tmp_path / "copy.json").read_bytes() == b'{"layers": [1, 2]}'


# Travelling


def read_sum(read_from: Any, path: str) -> float:
    """Read an array, in whatever process this runs."""
    opened = read_from.open(path) if isinstance(read_from, ama.Asset) else None
    with opened or fsspec.open(f"ama://data@best/{path}", **read_from) as file:
        return float(np.load(file).sum())


def test_pickled_copied_and_sent(store: ama.Store, asset: ama.Asset, files: AmaFileSystem) -> None:
    for value in (store, asset, files):
        for again in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
            assert type(again) is type(value)
            assert dask.base.tokenize(again) == dask.base.tokenize(value)
        assert len(pickletools.optimize(pickle.dumps(value))) < 2000
    summary, found = asset.summary(), store.find(name="*.csv")
    board, compared = store.leaderboard("data"), store.compare("data/1", "data/1")
    for each in (asset.info, summary, found, board, compared, asset.files(), store.classes()):
        assert pickle.loads(pickle.dumps(each)) == each
        assert copy.deepcopy(each) == each
    opened = fsspec.open("ama://data@best/config.json", store=store.url)
    with pickle.loads(pickle.dumps(opened)) as file:
        assert file.read() == b'{"layers": [1, 2]}'


@forks
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes(
    store: ama.Store, asset: ama.Asset, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that are started after the store was opened and used here."""
    expected = float(values().sum())
    with asset.open("v.npy") as file:
        file.read(200_000)  # somebody reads ahead
        context = multiprocessing.get_context(method)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCE), str(Path(__file__).parent)]))
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            jobs = [pool.submit(read_sum, asset, "v.npy") for _ in range(3)]
            jobs += [pool.submit(read_sum, {"store": store.url}, "v.npy") for _ in range(3)]
            assert [job.result(60) for job in jobs] == [expected] * 6


@forks
def test_a_fork_uses_what_was_open(store: ama.Store, asset: ama.Asset) -> None:
    store.find(name="*.csv")  # the catalog is open
    file = asset.open("v.npy")
    file.read(100)
    child = os.fork()
    if child == 0:
        try:
            same = np.load(io.BytesIO(asset.read("v.npy"))).sum() == values().sum()
            file.seek(0)
            same = same and np.load(file).sum() == values().sum()
            same = same and len(store.find(name="*.csv")) == 1
            os._exit(0 if same else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    file.seek(0)
    assert np.load(file).sum() == values().sum()


@forks
def test_joblib_workers(
    store: ama.Store, asset: ama.Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCE), str(Path(__file__).parent)]))
    with joblib.parallel_config(backend="multiprocessing", n_jobs=2):
        found = joblib.Parallel()(joblib.delayed(read_sum)(asset, "v.npy") for _ in range(4))
    assert found == [float(values().sum())] * 4


def test_eight_threads_on_one_store(store: ama.Store, files: AmaFileSystem, made: Path) -> None:
    paths = [str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()]
    asset = ama.Store.open(store.url).resolve("data@best")

    def read(number: int) -> bool:
        path = paths[number % len(paths)]
        with asset.open(path) as file:
            same = file.read() == (made / path).read_bytes()
        return same and files.cat_file(f"data@best/{path}") == (made / path).read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(4 * len(paths))))


# Inside of an event loop


def test_inside_a_running_loop(store: ama.Store, given: dict[str, str], made: Path) -> None:
    """As in a notebook, where a loop runs in the thread that reads."""

    async def cell() -> None:
        asset = ama.Store.open(store.url).resolve("data@best")
        assert asset.read("config.json") == b'{"layers": [1, 2]}'
        assert pd.read_csv("ama://data@best/t.csv", storage_options=given).shape == (ROWS, 3)
        assert len(store.find(name="*.csv")) == 1
        store.publish("more", {"x": b"x"})
        group = zarr.open_group("ama://data@best/v.zarr", mode="r", storage_options=given)
        assert group["w"][3, 3] == values()[3, 3]
        wrapped = AsyncFileSystemWrapper(fsspec.filesystem("ama", **given), asynchronous=True)
        found = await asyncio.gather(
            wrapped._cat_file("data@best/config.json"), wrapped._cat_file("data@best/t.csv")
        )
        assert found == [(made / name).read_bytes() for name in ("config.json", "t.csv")]
        assert await asyncio.to_thread(asset.read, "config.json") == found[0]

    asyncio.run(cell())


def test_in_a_web_application(store: ama.Store) -> None:
    """Handlers of Starlette, on which FastAPI is built: in the loop, and in its threads."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    asset = store.resolve("data@best")

    async def in_the_loop(request: Request) -> Response:
        return Response(asset.read(request.path_params["path"]))

    def in_a_thread(request: Request) -> Response:
        return StreamingResponse(asset.stream(request.path_params["path"]))

    routes = [Route("/loop/{path:path}", in_the_loop), Route("/thread/{path:path}", in_a_thread)]
    with TestClient(Starlette(routes=routes)) as client, ThreadPoolExecutor(4) as pool:
        urls = [f"/{how}/{path}" for how in ("loop", "thread") for path in ("t.csv", "v.npy")] * 4
        answers = list(pool.map(client.get, urls))
    for url, answer in zip(urls, answers, strict=True):
        assert answer.content == asset.read(url.rpartition("/")[2])


# What it costs


@pytest.mark.slow
def test_the_header_and_a_tensor_of_a_gigabyte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, count = 1024 * MIB, 256
    each = size // count
    header = {
        f"layers.{n}.weight": {
            "dtype": "U8",
            "shape": [each],
            "data_offsets": [n * each, (n + 1) * each],
        }
        for n in range(count)
    }
    begin = json.dumps(header).encode()
    block = np.random.default_rng(7).bytes(61 * MIB)  # its chunks fall anew at each place
    with open(tmp_path / "model.safetensors", "wb") as file:
        file.write(len(begin).to_bytes(8, "little") + begin)
        file.writelines(block[: size - at] for at in range(0, size, len(block)))
    url = f"memory://{uuid4()}"
    storage = CountingStorage(open_storage(url))
    monkeypatch.setattr("ama.store.open_storage", lambda *args: storage)

    def settings(machine: str) -> Settings:
        place = tmp_path / machine
        return Settings(
            data_dir=place, cache_dir=place, user_config_path=place / "config.toml", user_name="Ann"
        )

    writer = ama.Store.open(url, create=True, settings=settings("one"))
    writer.publish("models", [tmp_path / "model.safetensors"])
    (tmp_path / "model.safetensors").unlink()
    wanted = header["layers.77.weight"]["data_offsets"][0]
    assert isinstance(wanted, int)
    for cold in ("two", "three"):
        storage.reset()
        asset = ama.Store.open(url, settings=settings(cold)).resolve("models")
        with asset.open("model.safetensors") as opened:
            length = int.from_bytes(opened.read(8), "little")
            assert json.loads(opened.read(length)) == header
            opened.seek(8 + length + wanted)
            small = opened.read(100_000)
        at = wanted % len(block)
        assert small == (block + block)[at : at + 100_000]
        assert storage.bytes_read <= 2 * MIB
        assert storage.round_trips <= 16


# A store that goes away, and what isn't there

WEB_SERVER = """
import http.server, os, sys
class Ranges(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass
    def do_GET(self):
        path = self.translate_path(self.path)
        if not os.path.isfile(path):
            return self.send_error(404)
        with open(path, "rb") as file:
            data = file.read()
        first, last = 0, len(data) - 1
        asked = self.headers.get("Range")
        if asked:
            first, _, end = asked.removeprefix("bytes=").partition("-")
            first, last = int(first), min(int(end or last), last)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(data[first : last + 1])
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Ranges).serve_forever()
"""


@pytest.mark.parametrize("by", ["asset", "fsspec", "numpy"])
def test_a_server_that_dies_in_the_middle_and_comes_back(
    store: ama.Store, tmp_path: Path, by: str
) -> None:
    numbers = np.frombuffer(np.random.default_rng(7).bytes(9 * MIB), dtype="uint8")
    np.save(tmp_path / "large.npy", numbers)
    whole = (tmp_path / "large.npy").read_bytes()
    store.publish("large", tmp_path / "large.npy", aliases="best")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    serving = partial(
        running, sys.executable, "-c", WEB_SERVER, str(port), port=port, cwd=store.url
    )
    opened = ama.Store.open
    options = {"retries": 1, "timeout": 20}
    with serving():
        asset = opened(url, options=options).resolve("large@best")
        if by == "fsspec":
            files = AmaFileSystem(store=url, target_options=options)
            file = files.open("large@best/large.npy")
        else:
            file = asset.open("large.npy")
        head = file.read(2 * MIB)

    def read_on() -> None:
        nonlocal head
        while piece := file.read(MIB):
            head += piece

    for _ in range(2):
        with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port}") as away:
            read_on()
        assert isinstance(away.value, StorageError)
        assert away.value.retryable
        assert file.tell() == len(head)
    with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port}"):
        opened(url, options=options)
    with serving():
        assert head + file.read() == whole
        file.seek(0)
        if by == "numpy":
            assert (np.load(file) == numbers).all()
        assert opened(url, options=options).resolve("large@best").read("large.npy") == whole
    file.close()


def test_a_path_that_is_not_there_names_the_nearest(
    asset: ama.Asset, files: AmaFileSystem, given: dict[str, str]
) -> None:
    for call in (
        lambda: files.open("data@best/t.cvs"),
        lambda: files.cat_file("data@best/t.cvs"),
        lambda: files.info("data@best/t.cvs"),
        lambda: pd.read_csv("ama://data@best/t.cvs", storage_options=given),
    ):
        with pytest.raises(FileNotFoundError, match=r"t\.csv") as missing:
            call()
        assert missing.value.filename == "ama://data@best/t.cvs"
    with pytest.raises(FileNotFoundError, match="best"):
        files.open("data@bets/t.csv")
    with pytest.raises(FileNotFoundError, match="data"):
        files.open("dota@best/t.csv")
    with pytest.raises(ama.NotFound) as told:
        asset.open("parts/0.parqet")
    assert "parts/0.parquet" in str(told.value.hints)


def test_a_write_says_how_to_publish(files: AmaFileSystem, given: dict[str, str]) -> None:
    for write in (
        lambda: table().to_csv("ama://data@best/new.csv", storage_options=given),
        lambda: table().to_parquet("ama://data@best/new.parquet", storage_options=given),
        lambda: files.open("data@best/new", "w"),
        lambda: files.pipe_file("data@best/new", b"x"),
    ):
        with pytest.raises(OSError, match=r"never changed.*ama\.publish"):
            write()


def test_deprecated_deleted_and_undeleted(store: ama.Store, files: AmaFileSystem) -> None:
    store.deprecate("data/1", "old")
    assert files.cat_file("data@best/config.json") == b'{"layers": [1, 2]}'
    opened = files.open("data/1/t.csv")
    store.delete("data/1", force=True)
    assert opened.read(6) == b"n,text"  # who reads, reads on
    fresh = AmaFileSystem(store=store.url, skip_instance_cache=True)
    assert fresh.ls("data") == []
    for call in (fresh.open, fresh.info, fresh.cat_file, fresh.ls):
        with pytest.raises(FileNotFoundError, match="deleted"):
            call("data/1/t.csv")
    store.delete("data/1", undo=True)
    fresh.invalidate_cache()
    assert fresh.cat_file("data@best/config.json") == b'{"layers": [1, 2]}'
