"""The note of a publication, which settles a crash between the entry and HEAD.

`.ama/pending/publish` holds the entry's bytes and HEAD's next place. It is durable before the first
try to create the entry. A command that finds it later asks the store's log about the entry.

Right after the note, HEAD is written again, unchanged. Of several commands that saw the same HEAD
only one succeeds, and so only one publishes from it: without a lock, and without an asset that HEAD
can't move to.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace

from ama.errors import (
    AmaError,
    Conflict,
    FormatError,
    Hint,
    IntegrityError,
    NotFound,
    StorageError,
    shown,
)
from ama.format import canonical
from ama.format.entries import decode_entry
from ama.format.hashing import seal
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.system.encoding import from_system
from ama.worktree.head import At, Head, decode_head, encode_head
from ama.worktree.layout import PUBLISH, Worktree
from ama.worktree.staging import Notes, fields_of, notes_of

VERSION = 2


class Claim:
    """The right to publish from a worktree's HEAD, `head`.

    Args:
        tree: The worktree.
        at: HEAD as the command read it.
        remote: The store to publish to.
    """

    def __init__(self, tree: Worktree, at: At, remote: Remote) -> None:
        self._tree = tree
        self._generation, self.head = at
        self._remote = remote
        self._note: bytes | None = None

    def take(self, number: int, entry: bytes, moved: Head, used: Notes) -> None:
        """Note an entry that is about to be created, and HEAD's next place.

        Args:
            number: The entry's number.
            entry: The entry's bytes.
            moved: HEAD once the entry is in the log.
            used: The notes for the next asset that take effect with it.

        Raises:
            Conflict: Another command publishes from here, or has moved HEAD.
        """
        heads = encode_head(self.head), encode_head(moved)
        store = (self._remote.url, self._remote.format.id)
        body = canonical.encode((VERSION, *store, number, entry, *heads, fields_of(used)))
        if self._tree.noted(PUBLISH) != self._note:
            raise self._busy()
        note = body + seal(body)
        try:
            self._tree.note(PUBLISH, note, new=self._note is None)
        except FileExistsError:
            raise self._busy() from None
        self._note = note
        try:
            self._generation = self._tree.head.write(self._generation, self.head)
        except Conflict:
            generation, head = self._tree.head.read()
            if replace(head, number=moved.number) != moved:
                raise Conflict(
                    "another command moved HEAD meanwhile, so nothing was published",
                    hint="run the same command again",
                ) from None
            # The command that moved HEAD has found the note, and settled it.
            self._generation = generation

    def settle(self, head: Head, used: Notes) -> None:
        """Move HEAD to the published asset, and delete the note.

        Args:
            head: The new HEAD.
            used: The notes for the next asset that have taken effect.

        Raises:
            Conflict: A command that doesn't know of it moved HEAD.
        """
        if head != self.head:
            self._generation = _move_head(self._tree, self._generation, head)
        before, self.head = self.head, head
        self._tree.index.update(lambda latest: latest.carried_over(used, before, head))
        self.give_up()

    def give_up(self) -> None:
        """Delete the note, if it is still ours: it failed, or everything is done."""
        if self._note is not None and self._tree.noted(PUBLISH) == self._note:
            self._tree.forget(PUBLISH)
        self._note = None

    def _busy(self) -> Conflict:
        path = shown(self._tree.pending / PUBLISH)
        return Conflict(
            "another command is publishing from this worktree, or was interrupted",
            hint=f"run the same command again; to give up what was interrupted, delete {path}",
        )


def resume(
    tree: Worktree, open_remote: Callable[[str], Remote], *, publishes: bool = False
) -> None:
    """Settle a publication that was interrupted between its note and HEAD.

    The store's log tells. If it has the entry, HEAD moves. If it has somebody else's in its place,
    the note goes. If the number is still free, the same bytes are tried again, but only by a
    command that publishes.

    Args:
        tree: The worktree.
        open_remote: A function that opens the store at a URL.
        publishes: Whether the user has asked to publish.

    Raises:
        StorageError: The store can't be asked now.
        Conflict: The store is gone for now, or the entry is not there and may still come.
        IntegrityError: The note is damaged, so nobody can settle it.
    """
    note = tree.noted(PUBLISH)
    if note is None:
        return
    url, store_id, number, data, old, moved, used = _decoded(tree, note)
    entry = decode_entry(data)
    remote = _open(open_remote, url)
    if remote is None:
        # The next step depends on whether the entry was published: don't guess.
        raise Conflict(
            f"an upload to {shown(url)} was interrupted, and there is no store there now (is its"
            " disk mounted?)",
            hint="bring it back, and run the same command again; to give that upload up, delete"
            f" {shown(tree.pending / PUBLISH)}",
        )
    if remote.format.id == store_id:
        view = remote.view()
        ours = view.number >= number and remote.log.read_entry(number) == entry
        if view.number == number - 1 and view.entry_hash == entry.previous:
            view.require_whole()
            if not publishes:
                raise _unfinished(tree, url)
            ours = remote.log.try_append(number, data)
        generation, head = tree.head.read()
        if ours and head == old != moved:
            _move_head(tree, generation, numbered(moved, remote.view()))
        if ours:
            tree.index.update(lambda latest: latest.carried_over(used, old, moved))
    if tree.noted(PUBLISH) == note:
        # Otherwise the note's command is alive, has lost that number and tries another.
        tree.forget(PUBLISH)


def _decoded(tree: Worktree, note: bytes) -> tuple[str, str, int, bytes, Head, Head, Notes]:
    """Decode a note of a publication.

    Returns:
        The store (URL and id), the entry (number and bytes), HEAD before and after it, and the
        notes for the next asset that take effect with it.

    Raises:
        IntegrityError: The note is damaged.
        FormatError: A newer version of ama has written it.
    """
    try:
        if seal(note[:-32]) != note[-32:]:
            raise ValueError("damaged")
        version, *fields = canonical.decode(note[:-32], "note")
        if type(version) is int and version > VERSION:
            raise FormatError("an upload of a newer version of ama was interrupted: upgrade ama")
        # Version 1 has no notes for the next asset.
        url, store_id, number, data, old, moved, *noted = fields
        decode_entry(data)
        used = notes_of(*noted) if noted else Notes()
        return url, store_id, number, data, decode_head(old), decode_head(moved), used
    except FormatError:
        raise
    except (AmaError, ValueError, TypeError) as error:
        # Going on could publish the same work a second time.
        path = shown(tree.pending / PUBLISH)
        raise IntegrityError(
            f"{path} is damaged, and it alone says whether the last upload was finished",
            hint=Hint("list-then-delete", note=from_system(tree.pending / PUBLISH)),
        ) from error


def _unfinished(tree: Worktree, url: str) -> Conflict:
    return Conflict(
        f"an upload to {shown(url)} was interrupted, and is not published yet",
        hint=(Hint("finish-upload"), Hint("give-up", note=from_system(tree.pending / PUBLISH))),
    )


def _open(open_remote: Callable[[str], Remote], url: str) -> Remote | None:
    """Open a store; return None if there is none, or it is gone."""
    try:
        return open_remote(url)
    except NotFound:
        return None
    except StorageError as error:
        if error.errno != errno.ENOENT:
            raise
        return None


def numbered(head: Head, view: LogView) -> Head:
    """Return HEAD with its asset's number in a store."""
    number = view.class_state(head.class_name).number(head.asset) if head.asset else None
    return replace(head, number=number)


def _move_head(tree: Worktree, generation: int, head: Head) -> int:
    """Move HEAD to the published asset, unless another command has done so by the note.

    Returns:
        HEAD's generation after the move.
    """
    try:
        return tree.head.write(generation, head)
    except Conflict as error:
        now, found = tree.head.read()
        if found != head:
            raise Conflict(
                "another command moved HEAD at the same time; what was sent is published all the"
                " same",
                hint=Hint("list-it"),
            ) from error
        return now
