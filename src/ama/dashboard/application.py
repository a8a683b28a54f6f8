"""The dashboard as a web application."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from threading import Lock, Thread
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qs, quote

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from ama.asset import Asset
from ama.catalog.questions import Questions
from ama.dashboard import asset_views, note_views, views
from ama.dashboard.compare_views import Comparing, compare_page
from ama.dashboard.previews import MAX_IMAGE, Previews, image_type
from ama.dashboard.queries import Asked, asset_number
from ama.dashboard.rendering import ASSETS, Page, Renderer, ServerLinks, static_file
from ama.dashboard.security import HASHING, LOOPBACK, App, Guard
from ama.dashboard.views import Way, ways_from
from ama.errors import AmaError, Hint, InvalidInput, NotFound, StorageError, shown
from ama.format.hashing import Hasher
from ama.store import Store
from ama.system.parallel import start
from ama.system.progress import NO_PROGRESS, Progress
from ama.values import File, Note

_MOST_FIELDS = 400


def application(
    store: Store,
    questions: Questions | None = None,
    *,
    token: str | None = None,
    hosts: frozenset[str] | None = LOOPBACK,
) -> App:
    """Return the dashboard of a store as an ASGI application.

    Args:
        store: The store.
        questions: Asks it; made by default.
        token: What must be known to ask; None: nothing.
        hosts: By which names it may be asked; None: any.

    Example:
        >>> import ama
        >>> callable(application(ama.Store.open("store")))
        True
    """
    questions = questions or Questions(store.remote, store.settings)
    return Guard(_Dashboard(store, questions).app, token=token, hosts=hosts)


class _Dashboard:
    """The answers to requests about one store."""

    def __init__(self, store: Store, questions: Questions) -> None:
        self._questions = questions
        self._reaching = Reaching(store.snapshot, store.url)
        self._previews = Previews()
        self._comparing = Comparing(store.url)
        self._renderer = Renderer(ServerLinks(), store.url)
        asset = "/assets/{name}/{number}"
        gets: list[tuple[str, Callable[[Request], Response]]] = [
            ("/", self._home),
            ("/classes/{name}", self._class),
            ("/classes/{name}/aliases/{alias}", self._alias),
            ("/classes/{name}/description", self._description),
            (asset, self._asset),
            (f"{asset}/lineage", self._lineage),
            (f"{asset}/files/{{path:path}}", self._file),
            (f"{asset}/image/{{path:path}}", self._image),
            (f"{asset}/download/{{path:path}}", self._download),
            (f"{asset}/noted/{{entry}}/{{path:path}}", self._noted_file),
            (f"{asset}/noted-image/{{entry}}/{{path:path}}", self._noted_image),
            (f"{asset}/noted-download/{{entry}}/{{path:path}}", self._noted_download),
            ("/compare", self._compare),
            ("/search", self._search),
            ("/store", self._about),
            ("/changes", self._changes),
            ("/static/{name}", self._static),
        ]
        self.app = Starlette(
            routes=[
                *(_route(path, endpoint) for path, endpoint in gets),
                Route(HASHING, self._hash, methods=["POST"]),
            ],
            exception_handlers={
                AmaError: self._failed,
                HTTPException: self._no_page,
                Exception: self._broken,
            },
        )

    # Pages

    def _home(self, request: Request) -> Response:
        return self._page(request, views.home)

    def _class(self, request: Request) -> Response:
        name = request.path_params["name"]
        asked = _asked(request)
        return self._page(
            request, lambda store, questions: views.class_page(store, questions, name, asked)
        )

    def _alias(self, request: Request) -> Response:
        name, alias = request.path_params["name"], request.path_params["alias"]
        return self._page(request, lambda store, questions: views.alias_page(store, name, alias))

    def _description(self, request: Request) -> Response:
        name = request.path_params["name"]
        return self._page(
            request, lambda store, questions: note_views.description_page(store, questions, name)
        )

    def _asset(self, request: Request) -> Response:
        named = _named(request)
        return self._page(
            request,
            lambda store, questions: asset_views.asset_page(store, questions, *named, _itself),
        )

    def _lineage(self, request: Request) -> Response:
        named = _named(request)
        return self._page(
            request,
            lambda store, questions: asset_views.lineage_page(store, questions, *named, _itself),
        )

    def _file(self, request: Request) -> Response:
        named, path = _named(request), request.path_params["path"]
        return self._page(
            request,
            lambda store, questions: asset_views.file_page(
                store, questions, *named, path, self._previews
            ),
        )

    def _noted_file(self, request: Request) -> Response:
        (name, number), wanted = _named(request), _noted(request)
        return self._page(
            request,
            lambda store, questions: note_views.noted_file_page(
                store, questions, store.resolve(f"{name}/{number}"), wanted, self._previews
            ),
        )

    def _compare(self, request: Request) -> Response:
        asked = _asked(request)
        return self._page(
            request, lambda store, questions: compare_page(store, asked, self._comparing)
        )

    def _search(self, request: Request) -> Response:
        asked = _asked(request)
        return self._page(request, lambda store, questions: views.search(questions, asked))

    def _about(self, request: Request) -> Response:
        return self._page(request, views.store_page)

    def _page(self, request: Request, make: Callable[[Store, Questions], Page]) -> Response:
        # All of a page is of one look at the log. What is published while it is made is then still
        # to be brought in.
        store, questions = self._now()
        number = None
        try:
            number = questions.number()
        except StorageError:
            raise  # each part of the page has failed, and says so differently
        except AmaError:  # a damaged log: there is nothing newer to wait for
            pass
        page = make(store, questions)
        html = self._renderer.html(page, request.url.path, number)
        return HTMLResponse(html, page.status)

    def _now(self) -> tuple[Store, Questions]:
        """Return the store as it is now, and what asks it."""
        store = self._reaching.answer()
        return store, self._questions.at(store.remote.view())

    # Content

    def _download(self, request: Request) -> Response:
        asset, file = self._asset_and_file(request)
        return _sent(request, file, lambda: asset.stream(file.path))

    def _noted_download(self, request: Request) -> Response:
        store, note, file = self._note_and_file(request)
        return _sent(request, file, lambda: store.note_file(note))

    def _image(self, request: Request) -> Response:
        asset, file = self._asset_and_file(request)
        return _shown_image(file, lambda: asset.stream(file.path))

    def _noted_image(self, request: Request) -> Response:
        store, note, file = self._note_and_file(request)
        return _shown_image(file, lambda: store.note_file(note))

    def _asset_and_file(self, request: Request) -> tuple[Asset, File]:
        name, number = _named(request)
        asset = self._reaching.answer().resolve(f"{name}/{number}")
        return asset, asset_views.file_of_asset(asset, request.path_params["path"])

    def _note_and_file(self, request: Request) -> tuple[Store, Note, File]:
        name, number = _named(request)
        store = self._reaching.answer()
        found = note_views.find_note(store.resolve(f"{name}/{number}"), *_noted(request))
        return store, *found

    async def _hash(self, request: Request) -> Response:
        """Return the hash of the request's body, without keeping any of it."""
        hasher = Hasher()
        async for piece in request.stream():
            hasher.update(piece)
        return JSONResponse({"hash": hasher.digest().hex()})

    # Page resources

    def _changes(self, request: Request) -> Response:
        _, questions = self._now()
        return JSONResponse({"number": questions.number()})

    def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ASSETS:
            raise HTTPException(404)
        kept = {"cache-control": "no-cache"}
        return Response(static_file(name), media_type=ASSETS[name], headers=kept)

    # Errors

    def _failed(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, AmaError)
        error = self._cause(error)
        if request.url.path == "/changes" or request.method == "POST":
            return JSONResponse({"error": error.message}, 503)
        return self._page_of(request, error, self._ways(request, error))

    def _ways(self, request: Request, error: AmaError) -> tuple[Way, ...] | None:
        asked = dict(request.path_params)
        if not isinstance(error, NotFound | InvalidInput) or "name" not in asked:
            return None
        if asked.pop("entry", None) is not None:
            del asked["path"]  # it is no file of the asset itself
        number = asked.pop("number", "")
        with suppress(NotFound):
            asked["number"] = asset_number(number)
        with suppress(AmaError):
            return ways_from(self._reaching.answer(), **asked)
        return None

    def _cause(self, error: AmaError) -> AmaError:
        """Return why a page failed: if the store is away, its content only seems to be damaged."""
        if isinstance(error, StorageError | NotFound | InvalidInput):
            return error
        try:
            _, questions = self._now()
            questions.number()
        except StorageError as away:
            return away
        except AmaError:
            pass
        return error

    def _no_page(self, request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code != 404:
            return Response(status_code=error.status_code)
        return self._page_of(request, NotFound("there is no such page", hint="begin at the top"))

    def _broken(self, request: Request, error: Exception) -> Response:
        found = AmaError(f"this page failed ({type(error).__name__})", hint="please report it")
        return self._page_of(request, found)

    def _page_of(
        self, request: Request, error: AmaError, ways: tuple[Way, ...] | None = None
    ) -> Response:
        page = views.error_page(error, ways)
        return HTMLResponse(self._renderer.html(page, request.url.path), page.status)


def _route(path: str, endpoint: Callable[[Request], Response]) -> Route:
    route = Route(path, endpoint, methods=["GET"])
    # A file's name may have line feeds in it.
    route.path_regex = re.compile(route.path_regex.pattern, re.DOTALL)
    return route


def _asked(request: Request) -> Asked:
    try:
        found = parse_qs(request.url.query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        found = {}
    return Asked(found)


def _named(request: Request) -> tuple[str, int]:
    params = request.path_params
    return params["name"], asset_number(params["number"])


def _noted(request: Request) -> tuple[int, str]:
    """Return the entry of a note, and the name of its file."""
    params = request.path_params
    return asset_number(params["entry"]), params["path"]


def _sent(request: Request, file: File, open_file: Callable[[], Iterator[bytes]]) -> Response:
    """Return a file to be saved, never shown."""
    name = quote(file.path.split("/")[-1])
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{name}",
        "content-length": str(file.size),
        "etag": f'"{file.id}"',
    }
    pieces = iter(()) if request.method == "HEAD" else _begun(open_file())
    # Damage found on the way ends the connection before all announced bytes: no browser takes
    # that for the whole file.
    return StreamingResponse(pieces, headers=headers, media_type="application/octet-stream")


def _shown_image(file: File, open_file: Callable[[], Iterator[bytes]]) -> Response:
    data = b"".join(open_file()) if file.size <= MAX_IMAGE else b""
    kind = image_type(data)
    if kind is None:
        raise NotFound(f"{shown(file.path)} is no image that is shown")
    headers = {"content-security-policy": "default-src 'none'; sandbox"}
    return Response(data, headers=headers, media_type=kind)


def _itself(path: str) -> str:
    return path


def _begun(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Read the first piece, so that a page reports damage there."""
    first = next(pieces, b"")
    return iterate_in_threadpool(chain([first], pieces))


PORT = 8640


@dataclass(frozen=True, slots=True)
class Serving:
    """A dashboard about to be served: its place, and the token that it demands, if any."""

    url: str
    token: str | None
    _app: App
    _socket: socket.socket

    @property
    def address(self) -> str:
        """Return the address to open in a browser."""
        return f"{self.url}?token={self.token}" if self.token else self.url

    def close(self) -> None:
        """Release the port."""
        self._socket.close()

    def run(self) -> None:
        """Serve until the process is interrupted."""
        config = uvicorn.Config(
            self._app,
            log_level="error",
            access_log=False,
            use_colors=False,  # otherwise it asks a stream, and there may be none
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
    """Take the port of a dashboard, and read what its first page needs.

    Args:
        store: The store.
        host: The address to listen on. Beyond this machine, the dashboard demands a token.
        port: The port; 0: any free one.
        progress: The progress of reading a store for the first time.

    Raises:
        StorageError: It can't listen there.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = _listen(family, place)
    except (socket.gaierror, UnicodeError) as error:
        raise StorageError(
            f"can't listen on '{shown(host)}': there is no such host",
            hint=Hint("choose-host"),
        ) from error
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise StorageError(
            f"can't listen on {shown(host)}, port {port}: {why}",
            hint=Hint("choose-port"),
        ) from error
    questions = Questions(store.remote, store.settings, progress)
    with suppress(AmaError):  # the pages will say so
        views.home(store, questions)
    token = None if _is_loopback(place[0]) else secrets.token_urlsafe(24)
    hosts = None if token else LOOPBACK | {host.lower()}
    named = socket.gethostname() if place[0] in ("0.0.0.0", "::") else host
    shown_host = f"[{named}]" if ":" in named else named
    url = f"http://{shown_host}:{listening.getsockname()[1]}/"
    return Serving(url, token, application(store, questions, token=token, hosts=hosts), listening)


def _listen(family: socket.AddressFamily, place: tuple[Any, ...]) -> socket.socket:
    # Named as TCP, so that two pieces are not held back 40 ms.
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


Answer = TypeVar("Answer")

PATIENCE = 3.0
"""The seconds that a page waits for a store."""


class Reaching(Generic[Answer]):
    """A question to a store, with a limit on the wait for the answer.

    One question is open at a time, for all who wait. It goes on behind them, so that the next
    caller gets its answer.

    Args:
        ask: A function that asks the store.
        url: The store's URL.

    Example:
        >>> Reaching(lambda: 7, "store").answer()
        7
    """

    def __init__(self, ask: Callable[[], Answer], url: str) -> None:
        self._ask = ask
        self._url = url
        self._starting = Lock()
        self._asked: Future[Answer] | None = None
        self._since = 0.0

    def answer(self) -> Answer:
        """Return the store's answer.

        Raises:
            StorageError: It can't be reached, or hasn't answered yet.
            IntegrityError: The answer is damaged.
        """
        with self._starting:
            if self._asked is None or self._asked.done():
                self._asked, self._since = Future(), time.monotonic()
                # A question that never ends must not keep the process alive.
                try:
                    start(Thread(target=self._settle, args=(self._asked,), daemon=True))
                except StorageError:
                    self._asked = None  # otherwise the next caller would wait for it
                    raise
            asked, since = self._asked, self._since
        try:
            return asked.result(max(0, since + PATIENCE - time.monotonic()))
        except TimeoutError:
            raise StorageError(
                f"{self._url} has not answered for {time.monotonic() - since:.0f} seconds",
                retryable=True,
            ) from None

    def _settle(self, asked: Future[Answer]) -> None:
        try:
            asked.set_result(self._ask())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            asked.set_exception(error)
