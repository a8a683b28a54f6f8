"""A proxy before a server on this machine that makes it as far away as a bucket, and counts.

    python benchmarks/delay.py [--seconds 0.02] [--records FILE]

What a client sends is passed on so many seconds after it came, and answers at once: each request
takes that much longer, and a stream of bytes is late, but not slower.

It prints the port that it listens on, and then does what it is told on its standard input, until
that ends. A line with a number is the port of the server. Any other, a label, asks what has passed
since the last one: it prints [requests, waves, bytes of answers], and writes each request to the
file, as a line of JSON: [label, method, target, start, end], in seconds from the first.

Only where a request begins is read of what passes. What can't be read as HTTP/1.1 ends the proxy:
a count that may be wrong is worse than none.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

HOST = "127.0.0.1"
SECONDS = 0.02

MIB = 1 << 20
HELD = 32 * MIB
"""Bytes that wait on one connection, at most: enough for 1 GB/s."""

BUFFERED = MIB
LONGEST_LINE = 64 << 10
BACKLOG = 1024

_IS_REQUEST = re.compile(rb"[A-Z]+ \S+ HTTP/1\.1\r?\n").match


@dataclass(slots=True)
class Request:
    """One that passed: when its first byte came, and when the last one of its answer went so far:
    what ends an answer isn't known before the next request.
    """

    method: str
    target: str
    start: float
    end: float


def waves(requests: Iterable[Request]) -> int:
    """How many round trips wait for one another: the longest chain in which each request starts
    after the one before has ended.
    """
    count, over = 0, float("-inf")
    for request in sorted(requests, key=lambda request: request.end):
        if request.start >= over:  # who takes the earliest end each time gets the longest chain
            count, over = count + 1, request.end
    return count


class Proxy:
    """A proxy that runs in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._line())

    def lead_to(self, port: int) -> None:
        """Pass on what comes from now on to a port of this machine."""
        self._tell(str(port))

    def passed(self, label: str) -> tuple[int, int, int]:
        """The requests since this was asked last, their waves, and the bytes of the answers."""
        self._tell(label)
        requests, waves, received = json.loads(self._line())
        return requests, waves, received

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit("the proxy has ended: see above")
        return line


@contextmanager
def running(seconds: float = SECONDS, records: Path | None = None) -> Iterator[Proxy]:
    """Run a proxy until the end of the block."""
    argv = [sys.executable, __file__, f"--seconds={seconds}"]
    argv += [] if records is None else [f"--records={records}"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Proxy(process)
    finally:
        process.communicate()  # which closes its standard input


class Reader:
    """Finds where requests begin in what a client sends."""

    def __init__(self, begun: Callable[[Request], None]) -> None:
        self._begun = begun
        self._current: Request | None = None
        self._start = 0.0
        self._line = bytearray()
        self._head: list[bytes] = []
        self._take: Callable[[bytes], None] = self._take_head
        self._left = 0  # bytes of a body, or of one of its chunks
        self._expects = False  # the body waits for a word of the server's
        self._refused = False  # and that was no

    def sent(self, data: bytes, now: float) -> None:
        """Read what came from the client."""
        if self._refused and _IS_REQUEST(data):
            self._left, self._take = 0, self._take_head
        self._expects = self._refused = False
        at = 0
        while at < len(data):
            if self._left:
                taken = min(self._left, len(data) - at)
                self._left -= taken
                at += taken
                continue
            if self._take == self._take_head and not self._head and not self._line:
                self._start = now
            end = data.find(b"\n", at) + 1
            self._line += data[at : end or len(data)]
            if len(self._line) > LONGEST_LINE:
                raise ValueError("a line without an end")
            at = end or len(data)
            if end:
                line = bytes(self._line).rstrip(b"\r\n")
                self._line.clear()
                self._take(line)

    def answered(self, data: bytes, now: float) -> None:
        """Note what came from the server."""
        if self._current is not None:
            self._current.end = now
        if self._expects:
            self._refused = not data.startswith(b"HTTP/1.1 100")
            self._expects = False

    def _take_head(self, line: bytes) -> None:
        if line:
            self._head.append(line)
        elif self._head:
            lines, self._head = self._head, []
            self._begin(lines)

    def _begin(self, lines: list[bytes]) -> None:
        if not _IS_REQUEST(lines[0] + b"\n"):
            raise ValueError(f"this begins no request: {lines[0][:80]!r}")
        method, target, _ = lines[0].decode("latin-1").split(" ")
        fields = (line.decode("latin-1").partition(":") for line in lines[1:])
        headers = {name.lower(): value.strip().lower() for name, _, value in fields}
        # aws-chunked is about what is in the body: its length is the one that is given.
        if "chunked" in headers.get("transfer-encoding", ""):
            self._take = self._take_chunk
        else:
            self._left = int(headers.get("content-length", 0))
        self._expects = headers.get("expect") == "100-continue"
        self._current = Request(method, target, self._start, self._start)
        self._begun(self._current)

    def _take_chunk(self, line: bytes) -> None:
        size = int(line.partition(b";")[0], 16)
        if size:
            self._left = size + len(b"\r\n")
        else:
            self._take = self._take_trailer

    def _take_trailer(self, line: bytes) -> None:
        if not line:
            self._take = self._take_head


class Upstream(asyncio.Protocol):
    """The connection to the server: what it says goes to the client at once."""

    def __init__(self, client: Downstream) -> None:
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(BUFFERED)
        self._client.connected(transport)

    def data_received(self, data: bytes) -> None:
        self._client.answer(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.server_left()

    def pause_writing(self) -> None:
        self._client.hold(True)

    def resume_writing(self) -> None:
        self._client.hold(False)


class Downstream(asyncio.Protocol):
    """The connection of a client: what it says waits, and then goes to the server."""

    def __init__(self, delay: Delay) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(delay.begun)
        self._client: asyncio.Transport | None = None
        self._server: asyncio.Transport | None = None
        self._waiting: deque[tuple[float, bytes]] = deque()  # no bytes: that was all
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._held = False
        self._left = False
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(BUFFERED)
        self._client = transport
        self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await self._loop.create_connection(lambda: Upstream(self), HOST, self._delay.port)
        except OSError:
            self.server_left()

    def data_received(self, data: bytes) -> None:
        now = self._loop.time()
        try:
            self._reader.sent(data, now)
        except ValueError as error:
            self._delay.give_up(error)
            return
        self._waiting.append((now + self._delay.seconds, data))
        self._size += len(data)
        if self._size > HELD and self._client is not None:
            self._client.pause_reading()
        self._wait()

    def eof_received(self) -> bool:
        self._waiting.append((self._loop.time() + self._delay.seconds, b""))
        self._wait()
        return True  # an answer may still come

    def connection_lost(self, exc: Exception | None) -> None:
        self._left = True
        self._waiting.clear()
        if self._server is not None:
            self._server.abort()

    def pause_writing(self) -> None:
        if self._server is not None:
            self._server.pause_reading()

    def resume_writing(self) -> None:
        if self._server is not None:
            self._server.resume_reading()

    def connected(self, server: asyncio.Transport) -> None:
        self._server = server
        if self._left:
            server.abort()
        self._wait()

    def answer(self, data: bytes) -> None:
        if self._client is not None and not self._left:
            self._client.write(data)
            self._reader.answered(data, self._loop.time())
            self._delay.received += len(data)

    def server_left(self) -> None:
        if self._client is not None:
            self._client.close()

    def hold(self, held: bool) -> None:
        self._held = held
        self._wait()

    def _wait(self) -> None:
        """See to it that the first of what waits goes when it is due."""
        if self._timer is None and self._waiting and not self._held and self._server is not None:
            self._timer = self._loop.call_at(self._waiting[0][0], self._pass_on)

    def _pass_on(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._waiting and self._server is not None and not self._held:
            due, data = self._waiting[0]
            if due > now:
                break
            self._waiting.popleft()
            self._size -= len(data)
            if data:
                self._server.write(data)  # which may hold us
            else:
                self._server.write_eof()
        if self._size <= HELD and self._client is not None and not self._left:
            self._client.resume_reading()
        self._wait()


class Delay:
    """What all connections share.

    Args:
        seconds: how long what a client sends waits.
        records: where each request is written to.
    """

    def __init__(self, seconds: float, records: TextIO | None) -> None:
        self.port = 0
        self.seconds = seconds
        self.requests: list[Request] = []
        self.received = 0
        self._records = records

    def tell(self, label: str) -> None:
        """Print what has passed since the last time, and forget it."""
        found, self.requests = self.requests, []
        received, self.received = self.received, 0
        print(json.dumps([len(found), waves(found), received]), flush=True)
        if self._records is not None and found:
            first = found[0].start
            for r in found:
                times = (round(r.start - first, 4), round(r.end - first, 4))
                print(json.dumps([label, r.method, r.target, *times]), file=self._records)
            self._records.flush()

    def begun(self, request: Request) -> None:
        self.requests.append(request)

    def give_up(self, error: ValueError) -> None:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr, flush=True)
        os._exit(1)  # nothing that asyncio would rather log


async def run(seconds: float, records: TextIO | None) -> None:
    delay = Delay(seconds, records)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Downstream(delay), HOST, 0, backlog=BACKLOG)
    print(listener.sockets[0].getsockname()[1], flush=True)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        word = line.decode().strip()
        if word.isdecimal():
            delay.port = int(word)
        else:
            delay.tell(word)


def main() -> None:
    parser = argparse.ArgumentParser(description="A server, some milliseconds further away.")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="added to each request")
    parser.add_argument(
        "--records", type=Path, metavar="FILE", help="where each request is written to"
    )
    options = parser.parse_args()
    with ExitStack() as stack:
        stack.enter_context(suppress(KeyboardInterrupt))  # who started this hears it too
        records = stack.enter_context(options.records.open("w")) if options.records else None
        asyncio.run(run(options.seconds, records))


if __name__ == "__main__":
    main()
