"""MLflow with artifacts at `ama://`: a real tracking server, with and without a proxy."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

# It would tell its makers about the tests.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
mlflow = pytest.importorskip("mlflow")

from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.store.artifact.artifact_repository_registry import (  # noqa: E402
    get_artifact_repository,
)

import ama  # noqa: E402
from ama.integrations.mlflow import AmaArtifactRepository  # noqa: E402

# MLflow's own, and those of what it uses.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

RUN = "0123456789abcdef0123456789abcdef"
ROOT = f"ama://runs/0/{RUN}/artifacts"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(params=["proxied", "direct"], scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[tuple[str, Path]]:
    """A tracking server with SQLite; its URL, and the place of the store."""
    root = tmp_path_factory.mktemp(request.param)
    port = free_port()
    where = (
        ["--serve-artifacts", "--artifacts-destination", "ama://runs"]
        if request.param == "proxied"
        else ["--no-serve-artifacts", "--default-artifact-root", "ama://runs"]
    )
    environment = {
        **os.environ,
        "HOME": str(root),
        "AMA_REMOTE": str(root / "store"),
        "AMA_CACHE_DIR": str(root / "cache"),
        "AMA_AUTHOR": "Server <server@example.com>",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{root}/mlflow.db"]
    with (root / "log").open("w") as log:
        started = subprocess.Popen(
            [*command, "--workers", "1", *where],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            assert started.poll() is None, (root / "log").read_text()
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                    assert answer.status == 200
                break
            except OSError:
                time.sleep(0.2)
        yield url, root / "store"
    finally:
        started.terminate()
        started.wait(30)


@pytest.fixture
def tracked(
    server: tuple[str, Path], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ama.Store]:
    """The store of a server that this process logs to."""
    url, place = server
    monkeypatch.setenv("AMA_REMOTE", str(place))
    mlflow.set_tracking_uri(url)
    mlflow.set_experiment(request.node.name)
    yield Later(place)  # type: ignore[misc]
    while mlflow.active_run():
        mlflow.end_run()


class Later:
    """A store that is there once something was logged."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __getattr__(self, name: str) -> Any:
        return getattr(ama.Store.open(self._place), name)


def test_a_run(tracked: ama.Store, tmp_path: Path) -> None:
    (tmp_path / "plots" / "deep").mkdir(parents=True)
    (tmp_path / "plots" / "a.txt").write_text("a")
    (tmp_path / "plots" / "deep" / "b.bin").write_bytes(os.urandom(3_000_000))
    with mlflow.start_run() as run:
        mlflow.log_text("hello", "notes/hello.txt")
        mlflow.log_artifact(str(tmp_path / "plots" / "a.txt"))
        mlflow.log_artifacts(str(tmp_path / "plots"), "plots")
        mlflow.log_dict({"x": 1}, "notes/x.json")
    client = mlflow.MlflowClient()
    listed = {item.path: item.is_dir for item in client.list_artifacts(run.info.run_id)}
    assert listed == {"a.txt": False, "notes": True, "plots": True}
    inner = {item.path: item.file_size for item in client.list_artifacts(run.info.run_id, "plots")}
    assert inner == {"plots/a.txt": 1, "plots/deep": None}
    assert client.list_artifacts(run.info.run_id, "a.txt") == []
    assert client.list_artifacts(run.info.run_id, "nope") == []
    place = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="plots", dst_path=str(tmp_path)
    )
    assert (
        Path(place, "deep", "b.bin").read_bytes()
        == (tmp_path / "plots" / "deep" / "b.bin").read_bytes()
    )
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/hello.txt") == "hello"
    asset = tracked.resolve(f"runs@run-{run.info.run_id}")
    assert {file.path for file in asset.files()} == {
        *("a.txt", "notes/hello.txt", "notes/x.json", "plots/a.txt", "plots/deep/b.bin"),
    }
    assert asset.info.metadata["mlflow.id"] == run.info.run_id
    assert len(tracked.log(f"runs@run-{run.info.run_id}")) in (4, 5)  # a proxy gets file by file
    with pytest.raises(MlflowException):
        mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="nope")
    assert tracked.fsck().ok


def test_a_model(tracked: ama.Store) -> None:
    class Double(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
        def predict(self, model_input: list[float]) -> list[float]:
            return [2 * each for each in model_input]

    with mlflow.start_run():
        logged = mlflow.pyfunc.log_model(name="model", python_model=Double(), pip_requirements=[])
    loaded = mlflow.pyfunc.load_model(logged.model_uri)
    assert loaded.predict([1.5, 2.0]) == [3.0, 4.0]
    (alias,) = [move.alias for move in tracked.aliases("runs") if move.alias == logged.model_id]
    assert "MLmodel" in {file.path for file in tracked.files(f"runs@{alias}")}
    # Without MLflow's database, it is an asset as any other.
    there = mlflow.pyfunc.load_model(f"ama://runs@{alias}")
    assert there.predict([1.0]) == [2.0]


def test_many_at_once_lose_nothing(tracked: ama.Store) -> None:
    client = mlflow.MlflowClient()
    with mlflow.start_run() as started:
        run = started.info.run_id
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: client.log_text(run, str(n), f"d{n % 3}/{n}.txt"), range(24)))
    found = tracked.files(f"runs@run-{run}")
    assert {file.path for file in found} == {f"d{n % 3}/{n}.txt" for n in range(24)}


def test_a_run_is_deleted(tracked: ama.Store, server: tuple[str, Path], tmp_path: Path) -> None:
    with mlflow.start_run() as run:
        mlflow.log_text("1", "a.txt")
        mlflow.log_text("2", "b.txt")
    mlflow.delete_run(run.info.run_id)
    place = server[1].parent
    command = [sys.executable, "-m", "mlflow", "gc", "--run-ids", run.info.run_id]
    command += ["--backend-store-uri", f"sqlite:///{place}/mlflow.db", "--tracking-uri", server[0]]
    done = subprocess.run(
        command,
        env={**os.environ, "MLFLOW_TRACKING_URI": server[0]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    left = [a for a in tracked.assets("runs") if a.metadata["mlflow.id"] == run.info.run_id]
    assert left == []
    deleted = [a for a in tracked.history("runs") if a.status == "deleted"]
    assert {a.status_reason for a in deleted} == {"deleted in MLflow"}


# The repository by itself


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AmaArtifactRepository:
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    found = get_artifact_repository(ROOT)
    assert isinstance(found, AmaArtifactRepository)
    return found


def write(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def versions(tmp_path: Path) -> int:
    return len(ama.Store.open(tmp_path / "store").history("runs"))


def test_before_anything_is_logged(repo: AmaArtifactRepository, tmp_path: Path) -> None:
    assert repo.list_artifacts() == repo.list_artifacts("x") == []
    assert os.listdir(repo.download_artifacts("", str(tmp_path))) == []
    with pytest.raises(MlflowException, match="there is no x"):
        repo.download_artifacts("x", str(tmp_path))
    (tmp_path / "empty").mkdir()
    repo.log_artifacts(str(tmp_path / "empty"))
    repo.delete_artifacts()
    repo.delete_artifacts("x")
    assert not (tmp_path / "store").exists()


def test_a_retry_and_a_replacement(repo: AmaArtifactRepository, tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", b"1")
    for _ in range(3):
        repo.log_artifact(file, "d")
    assert versions(tmp_path) == 1
    write(tmp_path / "a.txt", b"2")
    repo.log_artifact(file, "d")
    assert versions(tmp_path) == 2
    assert Path(repo.download_artifacts("d/a.txt")).read_bytes() == b"2"


def test_deletion_of_a_part(repo: AmaArtifactRepository, tmp_path: Path) -> None:
    for name in ("a", "d/b", "d/e/c"):
        write(tmp_path / "out" / name, name.encode())
    repo.log_artifacts(str(tmp_path / "out"))
    repo.delete_artifacts("d/b")
    repo.delete_artifacts("d/b")
    assert [item.path for item in repo.list_artifacts("d")] == ["d/e"]
    repo.delete_artifacts("a")
    assert [item.path for item in repo.list_artifacts()] == ["d"]
    repo.delete_artifacts("d/e")
    assert repo.list_artifacts() == []
    repo.delete_artifacts()
    store = ama.Store.open(tmp_path / "store")
    assert store.assets("runs") == ()
    assert store.aliases("runs") == ()
    repo.log_artifact(write(tmp_path / "again", b"x"))
    assert [item.path for item in repo.list_artifacts()] == ["again"]


@pytest.mark.parametrize("first", ["d/x", None])
def test_what_is_logged_during_a_deletion_stays(
    repo: AmaArtifactRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str | None
) -> None:
    """A part is deleted that is all there is, and another process logs a model meanwhile; or
    everything was deleted before."""
    if first is not None:
        repo.log_artifact(write(tmp_path / "x", b"x"), "d")
    else:
        repo.log_artifact(write(tmp_path / "x", b"x"))
        repo.delete_artifacts()
    other = AmaArtifactRepository(ROOT)
    real, once = ama.Store.alias_history, threading.Lock()

    def slow(self: ama.Store, *args: Any) -> Any:
        found = real(self, *args)
        if once.acquire(blocking=False):
            other.log_artifact(write(tmp_path / "model", b"m"))
        return found

    monkeypatch.setattr(ama.Store, "alias_history", slow)
    repo.delete_artifacts("d")
    assert [item.path for item in repo.list_artifacts()] == ["model"]
    assert Path(repo.download_artifacts("model")).read_bytes() == b"m"
    store = ama.Store.open(tmp_path / "store")
    newest = store.resolve(f"runs@run-{RUN}").info
    assert newest.id in {asset.id for asset in store.assets("runs")}
    assert store.fsck().ok


def test_what_others_use_is_not_deleted(repo: AmaArtifactRepository, tmp_path: Path) -> None:
    repo.log_artifact(write(tmp_path / "a", b"1"))
    repo.log_artifact(write(tmp_path / "b", b"2"))
    repo.log_artifact(write(tmp_path / "c", b"3"))
    store = ama.Store.open(tmp_path / "store")
    store.move_alias("runs", "production", "runs/1")
    store.publish("reports", {"r": b"r"}, refs="runs/2")
    repo.delete_artifacts()
    assert [asset.number for asset in store.assets("runs")] == [2, 1]


def test_a_download_is_of_one_version(
    repo: AmaArtifactRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abcdef":
        write(tmp_path / "out" / name, b"old")
    repo.log_artifacts(str(tmp_path / "out"))
    other = AmaArtifactRepository(ROOT)
    real, done = AmaArtifactRepository._download_file, threading.Lock()

    def changed(self: Any, path: str, place: str, **more: Any) -> None:
        if done.acquire(blocking=False):
            for name in "abcdef":
                write(tmp_path / "out" / name, b"new")
            other.log_artifacts(str(tmp_path / "out"))
        real(self, path, place, **more)

    monkeypatch.setattr(
        AmaArtifactRepository,
        "_download_file",
        lambda self, remote_file_path, local_path: changed(self, remote_file_path, local_path),
    )
    (tmp_path / "got").mkdir()
    repo.download_artifacts("", str(tmp_path / "got"))
    assert {path.read_bytes() for path in (tmp_path / "got").iterdir()} == {b"old"}


def test_links_are_followed_and_secrets_refused(
    repo: AmaArtifactRepository, tmp_path: Path
) -> None:
    write(tmp_path / "out" / ".amaignore", b"*.log\n")
    write(tmp_path / "out" / "a.log", b"log")
    (tmp_path / "out" / "link").symlink_to(write(tmp_path / "elsewhere", b"content"))
    repo.log_artifacts(str(tmp_path / "out"))
    assert {item.path for item in repo.list_artifacts()} == {".amaignore", "a.log", "link"}
    assert Path(repo.download_artifacts("link")).read_bytes() == b"content"
    with pytest.raises(MlflowException, match="secret"):
        repo.log_artifact(write(tmp_path / ".env", b"A=1"))


def test_a_directory_behind_a_link_is_logged(repo: AmaArtifactRepository, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "sub" / "f", b"f")
    out = tmp_path / "out"
    write(out / "g", b"g")
    (out / "link").symlink_to(tmp_path / "elsewhere")
    (out / "again").symlink_to(tmp_path / "elsewhere" / "sub")
    repo.log_artifacts(str(out))
    files = ama.Store.open(tmp_path / "store").files(f"runs@run-{RUN}")
    assert [file.path for file in files] == ["again/f", "g", "link/sub/f"]
    (tmp_path / "elsewhere" / "sub" / "loop").symlink_to(out)
    with pytest.raises(MlflowException, match="loop is a link to a directory that it is in"):
        repo.log_artifacts(str(out))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("ama://runs?store=s3://elsewhere/x", "the store is not a part"),
        ("ama://runs#x", "the store is not a part"),
        ("ama:///0", "class"),
        ("ama://no:class/0", "class"),
        ("ama://runs@7/x", "alias"),
    ],
)
def test_what_uri_is_refused(uri: str, said: str) -> None:
    with pytest.raises(MlflowException, match=said) as caught:
        get_artifact_repository(uri)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize(
    "path", [None, "0", f"0/{RUN}", "artifacts", "../x", f"0/{RUN}/artifacts2"]
)
def test_what_is_not_below_a_run_is_refused(
    path: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    top = get_artifact_repository("ama://runs")
    with pytest.raises(MlflowException, match="not below a run's artifacts"):
        top.log_artifact(write(tmp_path / "a", b"1"), path)
    with pytest.raises(MlflowException, match="not below a run's artifacts"):
        top.delete_artifacts(path)
    assert top.list_artifacts(path) == []
    with pytest.raises(MlflowException, match="no path in an asset"):
        top.log_artifact(write(tmp_path / "a", b"1"), f"0/{RUN}/artifacts/../../x")
    with pytest.raises(MlflowException, match="not below a run's artifacts"):
        get_artifact_repository("ama://runs@best").log_artifact(write(tmp_path / "a", b"1"))


def test_importing_mlflow_brings_little_of_ama() -> None:
    script = "import mlflow.artifacts, sys; print([m for m in sys.modules if m.startswith('ama')])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    found = "['ama', 'ama.integrations', 'ama.integrations.mlflow', 'ama.errors']"
    assert sorted(eval(done.stdout)) == sorted(eval(found))
