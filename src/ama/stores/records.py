"""Records of packs: which are read in one range, and what is in the bytes that came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ama.errors import AmaError, IntegrityError
from ama.format.hashing import Buffer, short
from ama.format.objects import Kind, decode_recipe
from ama.format.pack import read_record
from ama.format.packindex import Location
from ama.format.references import Reference
from ama.stores.references import Away

RANGE_SIZE = 8 * 1024 * 1024
"""The largest coalesced range in bytes (unless a single record is larger)."""

GAP = 64 * 1024
"""The bytes between two records that cost less to read than another request."""


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring records of one pack, read in one range."""

    pack: bytes
    start: int
    end: int
    locations: tuple[Location, ...]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a reference led to: verified content, or why it can't be read."""

    content: bytes | AmaError


Raw = memoryview | bytes | Fetched | None
"""A record from a pack, or what its reference led to; None: its pack is gone."""

UNREAD = (IntegrityError, Away)
"""Why a record can't be read: its source may also be away."""


def opened(raw: Raw, location: Location) -> bytes:
    """Return a record's verified bytes."""
    if isinstance(raw, Fetched):
        if isinstance(raw.content, AmaError):
            raise raw.content
        return raw.content
    data = verified(raw, location)
    assert isinstance(data, bytes)
    return data


def verified(raw: Buffer | None, location: Location) -> bytes | Reference:
    """Return a record's verified bytes, or a reference that is one; None: its pack is gone."""
    if raw is None:
        raise IntegrityError(f"object {short(location.record.id)} is lost: its pack is gone")
    data = read_record(raw, location.record)
    if location.record.kind is Kind.RECIPE:
        assert isinstance(data, bytes)
        decode_recipe(data, f"recipe of {short(location.record.id)}")
    return data


def joined(failed: Sequence[AmaError]) -> AmaError:
    """Return one error for an object that can't be read in any place."""
    first = failed[0]
    others = dict.fromkeys(error.message.partition(": ")[2] for error in failed[1:])
    others.pop(first.message.partition(": ")[2], None)
    if not others:
        return first
    message = "; ".join([first.message, *others])
    if all(isinstance(error, Away) for error in failed):
        return Away(message, hint=first.hints, retryable=True)
    return IntegrityError(message, hint=tuple(h for error in failed[:2] for h in error.hints))


def spans(locations: Iterable[Location]) -> Iterator[Span]:
    """Yield ranges that cover the locations, neighbours together."""
    run: list[Location] = []
    for location in sorted(locations, key=lambda at: (at.pack, at.record.offset)):
        if run:
            start, end = run[0].record.offset, run[-1].record.end
            near = location.pack == run[0].pack and location.record.offset - end <= GAP
            if not near or location.record.end - start > RANGE_SIZE:
                yield Span(run[0].pack, start, end, tuple(run))
                run = []
        run.append(location)
    if run:
        yield Span(run[0].pack, run[0].record.offset, run[-1].record.end, tuple(run))
