"""Sending content ahead: before the assets are made that will publish it.

Who brings in much, one thing after the other, can't hold it until an entry is made. What was sent
and is published by no entry is an orphan, as after an interrupted push.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import TracebackType

from ama.format.chunking import THRESHOLD
from ama.format.hashing import blob_id
from ama.format.objects import Kind, Recipe, encode_recipe
from ama.format.packindex import PackIndex
from ama.stores.creation import Unmade
from ama.stores.index_choice import IndexChoice
from ama.stores.object_reader import ObjectStore
from ama.stores.pack_writer import PackWriter
from ama.stores.remote import Remote
from ama.transfer.places import require_references, send_places
from ama.transfer.send import Presence
from ama.worktree.entries import IndexEntry
from ama.worktree.given import GivenFiles
from ama.worktree.located import Located, together
from ama.worktree.reader import changed_meanwhile, cut, cut_source, read_entry

PACK_SIZE = 16 * 1024 * 1024
"""The bytes of a pack: who sends ahead holds the sources as well."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent ahead.

    Attributes:
        indexes: The indexes of it.
        recipes: The recipes of large files.
        number: The entry that the log had reached before.
        size: The bytes sent.
    """

    indexes: tuple[PackIndex, ...] = ()
    recipes: dict[bytes, Recipe] = field(default_factory=dict)
    number: int = 0
    size: int = 0


NOTHING = Sent()


class Ahead:
    """A sender of content that the store lacks. Use it as a context manager.

    Args:
        remote: The store.
        classes: The classes of the assets to come.
        size: About how many bytes there are to send.
        near: Indexes of what others have sent, and that are about to be published.

    Example:
        >>> import ama
        >>> store = ama.Store.open("store")
        >>> with Ahead(store.remote, ["models"], 1000) as ahead:
        ...     len(ahead.finish().indexes)
        0
    """

    def __init__(
        self,
        remote: Remote,
        classes: Collection[str],
        size: int,
        near: Sequence[PackIndex] = (),
    ) -> None:
        if isinstance(remote.storage, Unmade):
            remote.storage.make()  # else what says that somebody else made it comes with a file
        view = remote.view()
        choice = IndexChoice(remote)
        chosen = choice.at(view, sorted(classes), size)
        self._present = Presence([*near, *chosen], choice.more)
        self._storage = remote.storage
        self._features = view.root.read_features
        self._writer = PackWriter(remote.storage, features=self._features, pack_size=PACK_SIZE)
        self._located: list[Mapping[bytes, Located]] = []
        self._recipes: dict[bytes, Recipe] = {}
        self._number = view.number

    def __enter__(self) -> Ahead:
        self._writer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def send(self, files: GivenFiles) -> None:
        """Send the content of files.

        Raises:
            Conflict: A file is no longer what it was.
            StorageError: The store can't be reached.
        """
        for content, data in files.held.items():
            self._send_bytes(content, data)
        for entry in files.here.values():
            self._send_file(entry)
        self._located.append(files.located)

    def finish(self) -> Sent:
        """Store what is left, and return what was sent."""
        places = list(together(self._located).values())
        if places:
            require_references(self._features, self._storage.url)
            there = ObjectStore(self._storage, self._present.indexes)
            self._recipes |= send_places(
                self._writer, there, self._present.kind, places, lambda size: None
            )
        indexes = self._writer.finish()
        return Sent(indexes, self._recipes, self._number, self._writer.bytes_written)

    def _send_bytes(self, content: bytes, data: bytes) -> None:
        if len(data) < THRESHOLD:
            self._send(content, data)
        elif content not in self._recipes:
            self._note(content, cut_source(BytesIO(data), self._send))

    def _send_file(self, entry: IndexEntry) -> None:
        if entry.size < THRESHOLD:
            data = read_entry(Path(), entry.path, entry.kind)
            found = blob_id(data)
            if found == entry.id:
                self._send(found, data)
        elif entry.id in self._recipes:
            return
        else:
            recipe, found = cut(Path(), entry.path, self._send)
            if found == entry.id:
                self._note(found, recipe)
        if found != entry.id:
            raise changed_meanwhile(entry.path)

    def _send(self, content: bytes, data: bytes | memoryview) -> None:
        if content not in self._writer and not self._present.has_bytes(content):
            self._writer.add(Kind.DATA, content, data)

    def _note(self, content: bytes, recipe: Recipe) -> None:
        # A recipe goes with its chunks, or where an index that is counted on names them.
        self._recipes[content] = recipe
        if content not in self._present:
            self._writer.add(Kind.RECIPE, content, encode_recipe(recipe))
