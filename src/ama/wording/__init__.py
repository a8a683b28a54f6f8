"""Sentences of the faces: the library itself returns facts.

- **hint**: what would help, as a code and facts; `hints` has the words for each code.
- **note**: what was said later of an asset; `note_parts` says it in the order of its fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ama.catalog.unread import Unread
    from ama.values import Note, Scalar


def unread_text(unread: Unread, whose: bool = False, between: str = ": ") -> str:
    """Describe on one line what could not be read, and why.

    Args:
        unread: The file or value that could not be read.
        whose: Whether to name the file's asset too.
        between: The sign between the asset, the ref, the file and the key.

    Example:
        >>> from ama.catalog.unread import Unread
        >>> unread_text(Unread("models/1", "hparams.yaml", "scale", "object"))
        'hparams.yaml: scale: an object that only its own program can read'
    """
    from ama.catalog.unread import REASONS

    why = unread.detail or REASONS[unread.reason]
    if unread.file:
        asset = unread.asset if whose else ""
        where = between.join(filter(None, (asset, unread.source, unread.file, unread.key)))
        return f"{where}: {why}"
    if unread.source:
        return f"{unread.source} ({unread.asset}) can't be read: {why}"
    return f"{unread.asset}: {why}"


def note_parts(note: Note) -> list[str]:
    """Describe what a note says, but its author and time, in short parts.

    Example:
        >>> from datetime import UTC, datetime
        >>> from ama.values import Note
        >>> now = datetime.now(UTC)
        >>> note_parts(Note("models", "0" * 64, 7, 9, "Ann", now, {"f1": 0.5}, ("approved",)))
        ['f1 = 0.5', 'tag approved']
    """
    return [
        *(f"{key} = {_scalar_text(value)}" for key, value in note.metadata.items()),
        *(f"tag {tag}" for tag in note.tags),
        *(f"{key} taken back" for key in note.removed),
        *(f"no tag {tag} any more" for tag in note.untagged),
        *([f"file {note.file.path}"] if note.file else []),
        *([note.message.strip()] if note.message.strip() else []),
    ]


def _scalar_text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
