"""A real Airflow with an empty home: its database, its commands, its services."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
SERVICES = (
    ("api-server", "--workers", "1", "--host", "127.0.0.1"),
    ("dag-processor",),
    ("triggerer", "--skip-serve-logs"),
    ("scheduler", "--skip-serve-logs"),
)


@dataclass(frozen=True)
class Home:
    """An Airflow of its own below a directory: home, DAGs, and the store of its tasks."""

    root: Path

    @property
    def dags(self) -> Path:
        return self.root / "dags"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "AMA_"))}
        return {
            **clean,
            "PATH": f"{BIN}{os.pathsep}{clean.get('PATH', '')}",
            "HOME": str(self.root / "user"),
            "TMPDIR": str(self.root / "tmp"),
            "AIRFLOW_HOME": str(self.root / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW_CONN_AMA_DEFAULT": f"ama://{self.store}",
            "AMA_CACHE_DIR": str(self.root / "cache"),
            "NO_COLOR": "1",
        }

    def run(self, *words: str | Path, timeout: float = 240, **more: str) -> str:
        """What a command says, which must not fail."""
        done = subprocess.run(
            [str(word) for word in words],
            env={**self.environment, **more},
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-20_000:]
        return done.stdout

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Rows of Airflow's database."""
        with sqlite3.connect(self.root / "airflow" / "airflow.db", timeout=30) as database:
            found = database.execute(sql, values).fetchall()
        database.close()
        return found

    def add_dag(self, name: str, text: str) -> None:
        (self.dags / name).write_text(text, encoding="utf-8")


def new_home(root: Path) -> Home:
    """An Airflow that was never used before."""
    home = Home(root)
    for name in ("user", "tmp", "airflow", "dags"):
        (root / name).mkdir(parents=True)
    home.run(BIN / "airflow", "db", "migrate")
    return home


def wait_for(what: str, happened: Callable[[], object], timeout: float = 120) -> None:
    """Wait for another process; `what` is for whoever reads that it never came."""
    end = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.2)


@contextmanager
def services(home: Home) -> Iterator[None]:
    """Airflow's services, until the end of the block; each in a process group that ends with it."""
    port = free_port()
    settings = {
        **home.environment,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": os.urandom(32).hex(),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    }
    logs = home.root / "services"
    logs.mkdir()
    running: list[subprocess.Popen[bytes]] = []
    try:
        for service, *options in SERVICES:
            with (logs / service).open("wb") as log:
                running.append(start(service, options, settings, home.root, log))
            if service == "api-server":
                wait_for("the API server", lambda: answers(port))
        yield
        assert [process.args for process in running if process.poll() is not None] == []
    except AssertionError as error:
        for log in sorted(logs.iterdir()):
            error.add_note(f"--- {log.name}\n{log.read_text(errors='replace')[-20_000:]}")
        raise
    finally:
        for process in running:
            end_group(process, signal.SIGTERM)
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            end_group(process, signal.SIGKILL)
            process.wait(15)


def start(
    service: str, options: list[str], env: Mapping[str, str], cwd: Path, log: object
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [str(BIN / "airflow"), service, *options],
        env=env,
        cwd=cwd,
        stdout=log,  # type: ignore[arg-type]
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def end_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal a service and its workers."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def answers(port: int) -> bool:
    with socket.socket() as asking:
        asking.settimeout(1)
        return asking.connect_ex(("127.0.0.1", port)) == 0


def copy_example(home: Home) -> None:
    """The example and its sample, as they lie in the project."""
    shutil.copytree(PROJECT / "examples" / "sample", home.root / "sample")
    for path in (PROJECT / "examples" / "airflow").glob("*.py"):
        shutil.copy(path, home.dags)


def need_airflow() -> None:
    """Skip a module of tests where there is no Airflow, unless it must be there.

    Where it is, it gets an empty home before anything imports it, which reads its configuration.
    """
    if find_spec("airflow") is None:
        if os.environ.get("AMA_TESTS_NEED_AIRFLOW"):
            raise RuntimeError("there is no Airflow, and these tests need it")
        pytest.skip("there is no Airflow: make airflow", allow_module_level=True)
    if "AMA_TESTS_AIRFLOW_HOME" not in os.environ:
        root = Path(tempfile.mkdtemp(prefix="airflow-"))
        atexit.register(shutil.rmtree, root, ignore_errors=True)
        home = new_home(root)
        os.environ.update(home.environment, AMA_TESTS_AIRFLOW_HOME=str(root))
        os.environ["TMPDIR"] = tempfile.gettempdir()


def major_version() -> int:
    return int(version("apache-airflow").partition(".")[0])
