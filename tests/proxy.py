"""A web proxy before a server that misbehaves on purpose, and writes down what passes.

What it does to a request is a rule's decision, made from the request alone and from how many there
were: no chance is in it, so a test sees the same each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

Action = Literal[
    "pass",  # as if there were no proxy
    "drop",  # the connection is closed, and the server never hears of the request
    "lose",  # the server does it, and its answer is lost
    "cut",  # the answer ends in the middle
    "stall",  # nothing ever comes back
    "busy",  # 503, come back in a second
    "error",  # 500
    "denied",  # 403
    "moved",  # 301, to where isn't said
    "refused",  # 400
]


@dataclass(frozen=True, slots=True)
class Request:
    """What a rule decides on: `number` counts from 1, `seen` the requests like this one before."""

    number: int
    method: str
    path: str
    size: int
    seen: int
    agent: str = ""


Rule = Callable[[Request], Action]


@dataclass(slots=True)
class Proxy:
    """A proxy that runs. `rule` may be changed at any time."""

    url: str
    rule: Rule = lambda request: "pass"
    delay: float = 0
    """Seconds that each request takes longer."""

    without_headers: frozenset[str] = frozenset()
    """Headers, in small letters, that the server never sees."""

    requests: list[Request] = field(default_factory=list)
    most_at_once: int = 0


_STATUS: dict[Action, int] = {"error": 500, "denied": 403, "moved": 301, "refused": 400}
_HOP_BY_HOP = frozenset("connection keep-alive transfer-encoding te upgrade host".split())


@contextlib.contextmanager
def before(upstream: str) -> Iterator[Proxy]:
    """Run a proxy before the server at a URL until the end of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    proxy = Proxy("")
    runner, session = wait(_start(proxy, upstream.rstrip("/")))
    try:
        yield proxy
    finally:
        wait(_stop(runner, session))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(proxy: Proxy, upstream: str) -> tuple[web.AppRunner, ClientSession]:
    session = ClientSession(
        connector=TCPConnector(limit=0), auto_decompress=False, timeout=ClientTimeout(total=None)
    )
    handler = _handler(proxy, upstream, session)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    proxy.url = f"http://127.0.0.1:{port}"
    return runner, session


async def _stop(runner: web.AppRunner, session: ClientSession) -> None:
    await runner.cleanup()
    await session.close()
    # What stalls is left over by both.
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _handler(proxy: Proxy, upstream: str, session: ClientSession) -> Any:
    under_way = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal under_way
        body = await request.read()
        path, agent = request.rel_url.path_qs, request.headers.get("User-Agent", "")
        seen = sum(r.method == request.method and r.path == path for r in proxy.requests)
        asked = Request(len(proxy.requests) + 1, request.method, path, len(body), seen, agent)
        proxy.requests.append(asked)
        under_way += 1
        proxy.most_at_once = max(proxy.most_at_once, under_way)
        try:
            return await answer(request, asked, body)
        finally:
            under_way -= 1

    async def answer(request: web.Request, asked: Request, body: bytes) -> web.StreamResponse:
        action = proxy.rule(asked)
        await asyncio.sleep(proxy.delay)
        if action == "busy":
            return web.Response(status=503, headers={"Retry-After": "1"})
        if action in _STATUS:
            return web.Response(status=_STATUS[action])
        if action == "stall":
            await asyncio.sleep(3600)
        if action == "drop":
            return _closed(request)
        left_out = _HOP_BY_HOP | proxy.without_headers
        headers = [(k, v) for k, v in request.headers.items() if k.lower() not in left_out]
        headers.append(("Host", request.headers["Host"]))
        async with session.request(
            request.method,
            upstream + request.raw_path,
            headers=headers,
            data=io.BytesIO(body) if body else None,
            allow_redirects=False,
        ) as found:
            content = await found.read()
        if action == "lose":
            return _closed(request)
        kept = [(k, v) for k, v in found.headers.items() if k.lower() not in _HOP_BY_HOP]
        response = web.StreamResponse(status=found.status, reason=found.reason, headers=dict(kept))
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        response.content_length = len(content)
        await response.prepare(request)
        if action == "cut":
            await response.write(content[: len(content) // 2])
            return _closed(request, response)
        await response.write(content)
        await response.write_eof()
        return response

    return handle


def _closed(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return response or web.Response()
