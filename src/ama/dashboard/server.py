"""The server of the dashboard: where it listens, and what it demands of those who ask."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import uvicorn

from ama.catalog.questions import Browser
from ama.dashboard import views
from ama.dashboard.application import application
from ama.dashboard.security import LOOPBACK, App
from ama.errors import AmaError, StorageError, shown
from ama.store import Store
from ama.system.progress import NO_PROGRESS, Progress

PORT = 8640


@dataclass(frozen=True, slots=True)
class Serving:
    """A dashboard that is about to be served: where, and the token that it demands, if any."""

    url: str
    token: str | None
    _app: App
    _socket: socket.socket

    @property
    def address(self) -> str:
        """What is opened in a browser."""
        return f"{self.url}?token={self.token}" if self.token else self.url

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

    def run(self) -> None:
        """Serve until the process is interrupted."""
        config = uvicorn.Config(
            self._app,
            log_level="error",
            access_log=False,
            use_colors=False,  # else it asks a stream, and there may be none
            server_header=False,
            lifespan="off",
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
        uvicorn.Server(config).run(sockets=[self._socket])


def serve(
    store: Store,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    progress: Progress = NO_PROGRESS,
) -> Serving:
    """Take the port that a dashboard is to be served at, and read what its first page asks for.

    Args:
        store: the store.
        host: the address that it listens on. Beyond this machine it demands a token.
        port: the port; 0 for any that is free.
        progress: is told of the reading that a store needs that was not asked before.

    Raises:
        StorageError: it can't listen there.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = _listen(family, place)
    except (socket.gaierror, UnicodeError) as error:
        raise StorageError(
            f"can't listen on '{shown(host)}': there is no such host",
            hint="give a name or an address of this machine: --host 127.0.0.1",
        ) from error
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise StorageError(
            f"can't listen on {shown(host)}, port {port}: {why}",
            hint="use another --host, or another port: --port 0 takes one that is free",
        ) from error
    browser = Browser(store.remote, store.settings, progress)
    with suppress(AmaError):  # the pages will say so
        views.home(store, browser)
    token = None if _is_loopback(place[0]) else secrets.token_urlsafe(24)
    hosts = None if token else LOOPBACK | {host.lower()}
    named = socket.gethostname() if place[0] in ("0.0.0.0", "::") else host
    shown_host = f"[{named}]" if ":" in named else named
    url = f"http://{shown_host}:{listening.getsockname()[1]}/"
    return Serving(url, token, application(store, browser, token=token, hosts=hosts), listening)


def _listen(family: socket.AddressFamily, place: tuple[Any, ...]) -> socket.socket:
    # Named as TCP, it is taken for that: what is sent in two pieces isn't held back 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(128)
    except BaseException:
        listening.close()
        raise
    return listening


def _is_loopback(address: object) -> bool:
    try:
        return ipaddress.ip_address(str(address)).is_loopback
    except ValueError:
        return False
