"""The description beside exported files: JSON that says where they come from and what they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from ama.exporting.members import Taken
from ama.format.objects import EntryKind
from ama.format.recorded import environment_of
from ama.stores.remote import Remote
from ama.values import AssetInfo, Note, Scalar
from ama.worktree.trees import Listed

FORMAT = "ama export"
VERSION = 1

_KINDS = {
    EntryKind.FILE: "file",
    EntryKind.EXECUTABLE: "executable",
    EntryKind.SYMLINK: "symlink",
}
_PIECE = 256 * 1024


def describe(taken: Taken, remote: Remote) -> Iterator[bytes]:
    """Yield the JSON of an asset that is taken out, the same each time the store says the same.

    Args:
        taken: The asset.
        remote: Its store.
    """
    asset = asset_fields(taken.info)
    environment = environment_of(taken.asset.extra)
    if environment is not None:
        asset["environment"] = environment
    fields = {
        "format": FORMAT,
        "version": VERSION,
        "store": store_fields(remote),
        "asset": asset,
        "notes": [note_fields(note) for note in taken.notes],
    }
    yield from with_list(fields, "files", (file_fields(i, taken.links) for i in taken.listing))


def store_fields(remote: Remote) -> dict[str, Any]:
    """Return what tells a store from others. URLs of stores hold no credentials."""
    return {"url": remote.url, "id": remote.format.id}


def asset_fields(info: AssetInfo) -> dict[str, Any]:
    """Return everything about an asset but its files, as JSON has it."""
    return {
        "class": info.class_name,
        "number": info.number,
        "id": info.id,
        "tree": info.tree,
        "aliases": list(info.aliases),
        "author": info.author,
        "created_at": time_text(info.created_at),
        "message": info.message,
        "metadata": {key: plain(value) for key, value in info.metadata.items()},
        "status": info.status,
        "status_reason": info.status_reason,
        "size": info.size,
        "parents": list(info.parents),
        "refs": [
            {
                "class": ref.class_name,
                "number": ref.number,
                "id": ref.asset,
                "label": ref.label,
                "aliases": list(ref.aliases),
                "status": ref.status,
            }
            for ref in info.refs
        ],
        "run": dict(info.run),
    }


def note_fields(note: Note) -> dict[str, Any]:
    """Return a note, as JSON has it."""
    file = note.file
    return {
        "entry": note.entry,
        "author": note.author,
        "at": time_text(note.at),
        "metadata": {key: plain(value) for key, value in note.metadata.items()},
        "removed": list(note.removed),
        "tags": list(note.tags),
        "untagged": list(note.untagged),
        "message": note.message,
        "file": file and {"name": file.path, "blake3": file.id, "size": file.size},
    }


def file_fields(item: Listed, links: dict[str, str]) -> dict[str, Any]:
    """Return a file of an asset, as JSON has it: the hash is what `b3sum` prints."""
    fields: dict[str, Any] = {
        "path": item.path,
        "kind": _KINDS[item.kind],
        "blake3": item.id.hex(),
        "size": item.size,
    }
    if item.kind is EntryKind.SYMLINK:
        fields["target"] = links[item.path]
    return fields


def with_list(
    fields: dict[str, Any], name: str, items: Iterable[dict[str, Any]]
) -> Iterator[bytes]:
    """Yield a JSON object whose last member is a list, which may be too long to be held.

    Args:
        fields: The members before it.
        name: The list's name.
        items: What is in it: a line each.

    Example:
        >>> print(b"".join(with_list({"a": 1}, "b", [{"c": 2}])).decode(), end="")
        {
          "a": 1,
          "b": [
            {"c": 2}
          ]
        }
    """
    yield text_of(fields).removesuffix("\n}\n").encode() + f',\n  "{name}": ['.encode()
    some = bytearray()
    between = "\n    "
    for item in items:
        some += f"{between}{json.dumps(item, ensure_ascii=False)}".encode()
        between = ",\n    "
        if len(some) > _PIECE:
            yield bytes(some)
            some.clear()
    yield bytes(some) + (b"]\n}\n" if between == "\n    " else b"\n  ]\n}\n")


def text_of(fields: dict[str, Any] | list[Any]) -> str:
    """Return JSON to be read by people too, ended by a line feed."""
    return json.dumps(fields, ensure_ascii=False, indent=2) + "\n"


def time_text(moment: datetime) -> str:
    """Return a time in ISO 8601, UTC, to the microsecond.

    Example:
        >>> time_text(datetime(2026, 1, 1, tzinfo=UTC))
        '2026-01-01T00:00:00.000000Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def plain(value: Scalar) -> Scalar:
    """Return a value as JSON can have it: a float that is no number is a text.

    Example:
        >>> plain(float("inf")), plain(0.5)
        ('Infinity', 0.5)
    """
    if isinstance(value, float) and value - value != 0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value
