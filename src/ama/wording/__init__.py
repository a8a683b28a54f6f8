"""Sentences that the command line and the dashboard share: the library itself returns facts.

- **hint**: what would help, as a code and facts; `hints` has the words for each code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ama.catalog.unread import Unread


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
