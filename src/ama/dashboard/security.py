"""Access to the dashboard: checks of requests, and instructions to browsers.

The dashboard only reads, so it allows GET and HEAD, and POST for the one address that hashes a
dropped file, and only from a page of its own.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response

HASHING = "/hash"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

# A browser's form: a name or an address, in brackets if it has colons, and maybe a port.
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?").fullmatch

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """A guard before an application, which passes on only allowed requests.

    Args:
        app: The application.
        token: The token that requests beyond this machine need; None: none.
        hosts: The names by which requests may address it, in lower case; None: any. A page of
            another site whose name was made to lead here (DNS rebinding) sends that name.
    """

    def __init__(self, app: App, *, token: str | None, hosts: frozenset[str] | None) -> None:
        self._app = app
        self._token = token
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refusal(scope)
        with suppress(ClientDisconnect):  # nobody is left to answer
            await (answer or self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        given = headers.getlist("host")
        if len(given) > 1 or (given and not host_name(given[0])):
            return PlainTextResponse("this is no name of a host", status_code=400)
        if self._hosts is not None and host_name("".join(given)) not in self._hosts:
            return PlainTextResponse("this name does not lead to a dashboard", status_code=421)
        method, path = scope["method"], scope["path"]
        if method == "POST" and path == HASHING:
            if not _from_here(headers):
                return PlainTextResponse("only from a page of the dashboard", status_code=403)
        elif method not in ("GET", "HEAD"):
            allowed = {"allow": "GET, HEAD"}
            return PlainTextResponse("it only reads", status_code=405, headers=allowed)
        return None if self._token is None else self._ask_token(scope, headers)

    def _ask_token(self, scope: Scope, headers: Headers) -> Response | None:
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in query if name == "token"), None)
        if given is not None and self._fits(given):
            left = urlencode([pair for pair in query if pair[0] != "token"])
            # One slash: two would lead to another site.
            path = "/" + quote(scope["path"].lstrip("/\\"), safe="/@")
            answer = RedirectResponse(f"{path}?{left}" if left else path, status_code=303)
            answer.set_cookie(cookie_name(headers), given, httponly=True, samesite="lax")
            return answer
        # Other servers of this machine have their cookies here, of any form: ignore those.
        cookies = cookie_parser(headers.get("cookie", ""))
        if self._fits(cookies.get(cookie_name(headers), "")):
            return None
        return PlainTextResponse(
            "This dashboard needs a token, which is new each time it is started: open the address"
            " that `ama dashboard` has printed, or add ?token=... to this one.\n",
            status_code=401,
        )

    def _fits(self, given: str) -> bool:
        token = self._token or ""
        return bool(token) and hmac.compare_digest(given.encode(), token.encode())


def host_name(host: str) -> str:
    """Return the name in a Host header, without the port; empty if it is none.

    Example:
        >>> host_name("LocalHost:8640"), host_name("[::1]:8640"), host_name("[::1].evil")
        ('localhost', '::1', '')
    """
    found = _HOST(host)
    return (found[1] or found[2]).lower() if found else ""


def cookie_name(headers: Headers) -> str:
    """Return the name of the cookie with a dashboard's token.

    A browser sends a host's cookies to all its ports, so each dashboard there has its own.

    Example:
        >>> cookie_name(Headers({"host": "build-7:8640"}))
        'ama_dashboard_8640'
    """
    found = _HOST(headers.get("host", ""))
    return f"ama_dashboard_{found[3]}" if found and found[3] else "ama_dashboard"


def _from_here(headers: Headers) -> bool:
    host = headers.get("host", "")
    return headers.getlist("origin") in ([f"http://{host}"], [f"https://{host}"])
