"""The small files beside a log's entries: HINT and the checkpoints, with names and bytes."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Sequence

from ama.errors import IntegrityError, StorageError
from ama.format.entries import NUMBER_DIGITS
from ama.format.hashing import seal
from ama.format.state import ClassState, decode_class_state
from ama.storage.protocol import Range, Storage

HINT = "log/HINT"

MIRROR = "mirror.json"
"""The name of what says that a store is a mirror of another, which alone is published to."""

REFUSED = (errno.EACCES, errno.EPERM)
"""The system's errors for a file that is closed to us."""

_HINT = re.compile(
    rb"(?P<line>(?P<number>[1-9][0-9]{0,11}) (?P<hash>[0-9a-f]{64})\n)(?P<checksum>[0-9a-f]{64})\n"
).fullmatch


def checkpoint_name(number: int) -> str:
    """Return the name of the checkpoint after entry `number`.

    Example:
        >>> checkpoint_name(64)
        'checkpoint/fold/000000000064'
    """
    return f"checkpoint/fold/{number:0{NUMBER_DIGITS}d}"


def notes_name(number: int) -> str:
    """Return the name of the notes in the checkpoint after entry `number`.

    Example:
        >>> notes_name(64)
        'checkpoint/notes/000000000064'
    """
    return f"checkpoint/notes/{number:0{NUMBER_DIGITS}d}"


def segment_name(digest: bytes) -> str:
    """Return the name of a segment of checkpoints.

    Example:
        >>> segment_name(bytes(32))[:21]
        'checkpoint/segment/00'
    """
    return f"checkpoint/segment/{digest.hex()}"


def root_name(number: int) -> str:
    """Return the name of a checkpoint of the first form, which is read and no longer written.

    Example:
        >>> root_name(64)
        'checkpoint/000000000064'
    """
    return f"checkpoint/{number:0{NUMBER_DIGITS}d}"


def state_name(digest: bytes) -> str:
    """Return the name of a class's state in a checkpoint of the first form.

    Example:
        >>> state_name(bytes(32))[:19]
        'checkpoint/state/00'
    """
    return f"checkpoint/state/{digest.hex()}"


def is_derived(name: str) -> bool:
    """Whether a file is derived from the log's entries, so that readers can do without it.

    Example:
        >>> is_derived(HINT), is_derived("log/000000000001")
        (True, False)
    """
    return name == HINT or name.startswith("checkpoint/")


def read_readable(storage: Storage, names: Sequence[str]) -> list[bytes | None]:
    """Read whole files in one round trip; a derived file that is closed to us counts as absent.

    Raises:
        StorageError: The storage fails, or refuses a file that is not derived.

    Example:
        >>> from ama.storage.memory import MemoryStorage
        >>> read_readable(MemoryStorage("nothing"), [HINT])
        [None]
    """
    try:
        return storage.read([Range(name) for name in names])
    except StorageError as error:
        if error.errno not in REFUSED or not any(map(is_derived, names)):
            raise
    return [_read_readable(storage, name) for name in names]


def _read_readable(storage: Storage, name: str) -> bytes | None:
    try:
        (data,) = storage.read([Range(name)])
    except StorageError as error:
        if error.errno in REFUSED and is_derived(name):
            return None
        raise
    return data


def encode_mirror(url: str) -> bytes:
    """Return what marks a store as the mirror of the one at a URL.

    Example:
        >>> mirror_of(encode_mirror("gs://models/ama"))
        'gs://models/ama'
    """
    return json.dumps({"magic": "ama mirror", "of": url}, indent=2).encode() + b"\n"


def mirror_of(data: bytes | None) -> str | None:
    """Return the URL of the store that is mirrored; "" of a damaged mark; None without one."""
    if data is None:
        return None
    try:
        said = json.loads(data)
        return str(said["of"]) if said["magic"] == "ama mirror" else ""
    except (ValueError, KeyError, TypeError):
        return ""


def encode_hint(number: int, entry_hash: bytes) -> bytes:
    """Return HINT's bytes: an entry that the log has reached, and a checksum.

    Example:
        >>> decode_hint(encode_hint(7, bytes(32)))[0]
        7
    """
    line = f"{number} {entry_hash.hex()}\n".encode()
    return line + seal(line).hex().encode() + b"\n"


def decode_hint(data: bytes) -> tuple[int, bytes]:
    """Return the number and entry hash in HINT; (0, b"") if it is damaged."""
    found = _HINT(data)
    if found is None or seal(found["line"]).hex().encode() != found["checksum"]:
        return 0, b""
    return int(found["number"]), bytes.fromhex(found["hash"].decode())


def read_class_state(name: str, digest: bytes, data: bytes | None) -> ClassState | None:
    """Return a class's state, or None if the bytes are absent or don't match the digest."""
    if data is None or seal(data) != digest:
        return None
    try:
        state = decode_class_state(data)
    except IntegrityError:
        return None
    return state if state.name == name else None
