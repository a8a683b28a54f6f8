"""Reading what references lead to: grouped by source, in few ranges, each content verified.

A member of a zip is inflated once for all chunks that follow on each other: who reads a file
forwards leaves an open stream behind, which the next read goes on with.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from threading import Lock
from typing import NamedTuple, TypeVar

from ama.errors import AmaError, Hint, IntegrityError, NotFound, StorageError
from ama.format.hashing import short
from ama.format.pack import Record, verify_content
from ama.format.references import Method, Reference
from ama.storage.outside import Outside, Part, shown_url

MOST_AT_ONCE = 24 * 1024 * 1024
"""The most bytes of content that is read at once."""

RANGE_SIZE = 8 * 1024 * 1024
"""The largest range that several contents are read in, in bytes."""

GAP = 64 * 1024
"""The bytes between two contents that cost less to read than another request."""

PIECE = 4 * 1024 * 1024
"""The bytes of deflated data that are read at once."""

STREAMS = 8
"""The most streams that stay open: each holds some 40 KB for each of its marks, and a piece."""

MARK_EVERY = 16 * 1024 * 1024
"""The inflated bytes from one mark to the next, unless there are many."""

MOST_MARKS = 32
"""The most marks of a stream; then every second one is dropped."""

Item = TypeVar("Item")

_STEP = 1024 * 1024
_SLACK = 4096  # deflated data is hardly larger than what it makes


class Away(StorageError):
    """What a reference leads to can't be reached for now; the store itself can.

    Example:
        >>> raise Away("s3://sets/a.zip does not answer", retryable=True)
        Traceback (most recent call last):
            ...
        ama.stores.references.Away: s3://sets/a.zip does not answer
    """


class Wanted(NamedTuple):
    """A content, by the record that says where it is."""

    record: Record
    reference: Reference


class References:
    """A reader of what references lead to.

    Args:
        outside: The files outside of stores.

    Attributes:
        bytes_read: The bytes of sources that were read so far.
    """

    def __init__(self, outside: Outside | None = None) -> None:
        self.outside = outside or Outside()
        self.bytes_read = 0
        self._lock = Lock()
        self._streams: OrderedDict[_Member, _Stream] = OrderedDict()

    def fetch(self, wanted: Sequence[Wanted]) -> list[bytes | AmaError]:
        """Return the verified content of references, or why each can't be read.

        Args:
            wanted: The references; with at most `MOST_AT_ONCE` bytes of content, or a single one.
        """
        found: dict[int, bytes | AmaError] = {}
        members: dict[_Member, list[int]] = {}
        plain: list[int] = []
        for number, each in enumerate(wanted):
            if each.reference.method is Method.STORED:
                plain.append(number)
            else:
                members.setdefault(_member(each.reference), []).append(number)
        begun = {member: self._begin(member, wanted, each) for member, each in members.items()}
        parts = {n: _part(wanted[n].reference) for n in plain}
        ahead = _ahead(begun)
        answers = self._read([*parts.values(), *ahead.values()])
        for number, part in parts.items():
            found[number] = answers[part]
        for member, numbers in members.items():
            first = answers[ahead[member]] if member in ahead else None
            found.update(self._inflate(member, begun[member][0], first, wanted, numbers))
        return self._judged(wanted, [found[number] for number in range(len(wanted))])

    # Deflated

    def _begin(
        self, member: _Member, wanted: Sequence[Wanted], numbers: list[int]
    ) -> tuple[_Stream, int]:
        """Return a stream of a member, and up to where its inflated bytes are needed."""
        numbers.sort(key=lambda n: (wanted[n].reference.start, wanted[n].record.full))
        first, last = (wanted[numbers[at]] for at in (0, -1))
        with self._lock:
            stream = self._streams.pop(member, None)
        stream = (stream or _Stream()).at(first.reference.start)
        return stream, last.reference.start + last.record.full

    def _inflate(
        self,
        member: _Member,
        stream: _Stream,
        first: bytes | AmaError | None,
        wanted: Sequence[Wanted],
        numbers: Sequence[int],
    ) -> Iterator[tuple[int, bytes | AmaError]]:
        held = b""  # up to where the stream is: several records may be of one place, or overlap
        held_at = 0
        for at, number in enumerate(numbers):
            start, size = wanted[number].reference.start, wanted[number].record.full
            try:
                if first is not None:
                    stream.feed(first)
                    first = None
                if start < stream.position:
                    data = held[start - held_at :][:size]
                    data += self._take(member, stream, stream.position, size - len(data))
                else:
                    data = self._take(member, stream, start, size)
            except AmaError as error:
                yield from ((each, error) for each in numbers[at:])
                return
            if start + size == stream.position:
                held, held_at = data, start
            yield number, data
        with self._lock:
            self._streams[member] = stream
            while len(self._streams) > STREAMS:
                self._streams.popitem(last=False)

    def _take(self, member: _Member, stream: _Stream, start: int, size: int) -> bytes:
        for _ in self._advance(member, stream, start - stream.position):
            pass
        return b"".join(self._advance(member, stream, size))

    def _advance(self, member: _Member, stream: _Stream, count: int) -> Iterator[bytes]:
        """Yield the next bytes of a member, piece by piece."""
        while count > 0:
            data = stream.inflate(min(count, _STEP))
            if not data:
                part = stream.next_part(member)
                if part is None:
                    raise IntegrityError(f"what is deflated in {shown_url(member.url)} ends early")
                stream.feed(self._read([part])[part])
            count -= len(data)
            yield data

    # As it is

    def _read(self, parts: Sequence[Part]) -> Mapping[Part, bytes | AmaError]:
        """Read parts of sources, neighbours together, all in one batch of each storage."""
        found: dict[Part, bytes | AmaError] = {}
        for some in in_batches(_runs(dict.fromkeys(parts)), lambda each: each[0].length):
            answers = self.outside.read([span for span, _ in some])
            for (span, run), answer in zip(some, answers, strict=True):
                for part in run:
                    at = part.start - span.start
                    is_error = not isinstance(answer, bytes)
                    found[part] = answer if is_error else answer[at : at + part.length]  # type: ignore[index]
                self.bytes_read += len(answer) if isinstance(answer, bytes) else 0
        return found

    # What is wrong

    def _judged(
        self, wanted: Sequence[Wanted], found: Sequence[bytes | AmaError]
    ) -> list[bytes | AmaError]:
        """Return contents that are verified, or errors that name their sources."""
        judged: list[bytes | AmaError] = []
        seen: dict[str, str] = {}
        for each, data in zip(wanted, found, strict=True):
            if isinstance(data, bytes):
                try:
                    verify_content(each.record, data)
                    judged.append(data)
                    continue
                except IntegrityError as error:
                    data = error
            judged.append(self._error(each, data, seen))
        return judged

    def _error(self, wanted: Wanted, error: AmaError, seen: dict[str, str]) -> AmaError:
        where = shown_url(wanted.reference.url)
        hint = Hint("bring-source-back", source=where)
        if isinstance(error, StorageError) and error.retryable:
            message = f"object {short(wanted.record.id)} can't be read: {error.message}"
            return Away(message, hint=error.hints, retryable=True, errno=error.errno)
        if not isinstance(error, IntegrityError | NotFound):
            # Not allowed, no file any more, or closed: somebody else may have the content.
            message = f"object {short(wanted.record.id)} can't be read: {error.message}"
            return IntegrityError(message, hint=(*error.hints, hint))
        if isinstance(error, NotFound):
            what = f"{where}, which has it, is gone"
        else:
            if wanted.reference.url not in seen:
                seen[wanted.reference.url] = self._change(wanted.reference)
            what = f"{where}, which has it, {seen[wanted.reference.url]}"
        return IntegrityError(
            f"object {short(wanted.record.id)} can't be read: {what}",
            hint=hint,
        )

    def _change(self, reference: Reference) -> str:
        (now,) = self.outside.details([reference.url])
        if isinstance(now, NotFound):
            return "is gone"
        if isinstance(now, AmaError):
            return "can't be read as it was"
        return changed(reference, now.size, now.mark) or "has other bytes in that place"


def changed(reference: Reference, size: int, mark: str) -> str | None:
    """Return how a source differs from what it was, as far as its size and mark tell.

    Example:
        >>> changed(Reference("file:///a", "1", 10, 0, 10), 12, "2")
        'has changed: it has 12 bytes, not 10'
    """
    if size != reference.size:
        return f"has changed: it has {size:,} bytes, not {reference.size:,}"
    if mark and reference.mark and mark != reference.mark:
        return "was written again, with as many bytes"
    return None


class _Member(NamedTuple):
    """Deflated bytes in a source."""

    url: str
    mark: str
    offset: int
    length: int


class _Mark(NamedTuple):
    """A place in deflated bytes from which one can go on: inflated and deflated, and the state."""

    position: int
    fed: int
    state: zlib._Decompress


class _Stream:
    """Inflating forwards; the bytes come in pieces from elsewhere.

    It leaves marks behind. So whoever reads a part, and then an earlier one, does not begin anew.
    """

    def __init__(self, begin: _Mark | None = None, marks: Sequence[_Mark] = ()) -> None:
        self._marks = list(marks)
        self._every = MARK_EVERY
        begin = begin or _Mark(0, 0, zlib.decompressobj(-zlib.MAX_WBITS))
        self.position = begin.position
        """How many bytes of the member lie before what it gives next."""
        self._fed = begin.fed
        self._waiting: bytes = b""
        self._inflater = begin.state.copy()

    def at(self, start: int) -> _Stream:
        """Return a stream that comes to a place: this one, or one from a mark before it."""
        before = [mark for mark in self._marks if mark.position <= start]
        nearest = before[-1] if before else None
        if self.position <= start and (nearest is None or nearest.position <= self.position):
            return self
        return _Stream(nearest, self._marks)

    def first_part(self, member: _Member, need: int) -> Part | None:
        """Return the part to read for bytes up to a place; None: by and by is better."""
        if self.position or self._waiting or need > PIECE:
            return None
        return Part(member.url, member.offset, min(member.length, need + _SLACK))

    def next_part(self, member: _Member) -> Part | None:
        """Return the part that follows on what it got; None: that was all."""
        if self._inflater.eof or self._fed >= member.length:
            return None
        length = min(PIECE, member.length - self._fed)
        return Part(member.url, member.offset + self._fed, length)

    def feed(self, data: bytes | AmaError) -> None:
        """Take what follows.

        Raises:
            AmaError: It can't be read; or the source ends before.
        """
        if not isinstance(data, bytes):
            raise data
        if not data:
            raise IntegrityError("the source ends early")
        self._waiting = data
        self._fed += len(data)

    def inflate(self, most: int) -> bytes:
        """Return the next bytes, none if it has to be fed.

        Raises:
            IntegrityError: They are not deflated.
        """
        try:
            data = self._inflater.decompress(self._waiting, most)
        except zlib.error as error:
            raise IntegrityError(f"it is not deflated: {error}") from error
        self._waiting = self._inflater.unconsumed_tail
        self.position += len(data)
        last = self._marks[-1].position if self._marks else 0
        if self.position - last >= self._every and not self._inflater.eof:
            fed = self._fed - len(self._waiting)
            self._marks.append(_Mark(self.position, fed, self._inflater.copy()))
            if len(self._marks) > MOST_MARKS:
                self._marks, self._every = self._marks[1::2], 2 * self._every
        return data


def _member(reference: Reference) -> _Member:
    return _Member(reference.url, reference.mark, reference.offset, reference.length)


def _part(reference: Reference) -> Part:
    return Part(reference.url, reference.offset, reference.length)


def _ahead(begun: Mapping[_Member, tuple[_Stream, int]]) -> dict[_Member, Part]:
    """Return what to read of members at once: of those of which little is needed."""
    found: dict[_Member, Part] = {}
    left = MOST_AT_ONCE
    for member, (stream, need) in begun.items():
        part = stream.first_part(member, need)
        if part is not None and part.length <= left:
            found[member] = part
            left -= part.length
    return found


def _runs(parts: Iterable[Part]) -> Iterator[tuple[Part, list[Part]]]:
    """Yield parts that are read in one range, neighbours in one source, after that range."""
    for url, some in groupby(sorted(parts), key=lambda part: part.url):
        run: list[Part] = []
        start = end = 0
        for part in some:
            if run and (part.start - end > GAP or part.start + part.length - start > RANGE_SIZE):
                yield Part(url, start, end - start), run
                run, end = [], 0
            start = run[0].start if run else part.start
            run.append(part)
            end = max(end, part.start + part.length)
        if run:
            yield Part(url, start, end - start), run


def in_batches(
    items: Iterable[Item], size_of: Callable[[Item], int], most: int = MOST_AT_ONCE
) -> Iterator[list[Item]]:
    """Yield neighbours of which so many bytes are held at once; a larger one is alone.

    Example:
        >>> list(in_batches([1, 2, 3, 9], int, most=5))
        [[1, 2], [3], [9]]
    """
    batch: list[Item] = []
    size = 0
    for item in items:
        size += size_of(item)
        if batch and size > most:
            yield batch
            batch, size = [], size_of(item)
        batch.append(item)
    if batch:
        yield batch
