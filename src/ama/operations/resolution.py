"""Resolution of names to assets in a worktree: names of the store, and of unpublished commits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ama.errors import AmaError, Hint, NotFound
from ama.operations.connections import Connections
from ama.operations.content import Content
from ama.stores.log_view import When
from ama.worktree.head import Head
from ama.worktree.layout import Worktree
from ama.worktree.trees import Listed

if TYPE_CHECKING:
    from ama.stores.log_view import LogView
    from ama.stores.revisions import Revision


class Names:
    """The names of assets as a worktree uses them: `@best` is an alias of its class.

    Args:
        tree: The worktree.
        stores: The stores that the worktree can reach.
        content: The assets that the worktree can reach.
    """

    def __init__(self, tree: Worktree, stores: Connections, content: Content) -> None:
        self._tree = tree
        self._stores = stores
        self._content = content

    def resolve(self, name: str, when: When = When.NOW_ELSE_LAST_SEEN) -> bytes:
        """Return the id of the asset that a name means.

        Args:
            name: The name, in any form.
            when: The moment of the log that decides.

        Raises:
            NotFound, InvalidInput: See `ama.stores.revisions`.
            StorageError: The store can't be reached, and `when` is now.
        """
        return self._find(name, lambda head: self._stores.default_view(head, when))[1]

    def resolve_by_log(self, name: str) -> tuple[str, bytes, LogView | None]:
        """Return the class and id of the asset that a name means, and the log that decided.

        Read the default remote's log once: the current one, else the last one seen.

        Raises:
            NotFound, InvalidInput: See `ama.stores.revisions`.
        """
        head = self._tree.head.read().head
        view = self._stores.default_view(head, When.NOW_ELSE_LAST_SEEN)
        return (*self._find(name, lambda head: view), view)

    def contents(self, name: str) -> dict[str, Listed]:
        """Return the files of the asset that a name means, by path.

        Raises:
            NotFound: The asset was deleted, and is not HEAD's.
            NotFound, InvalidInput: See `resolve`.
        """
        return self._content.live_listing(self.resolve(name))

    def _find(self, name: str, look: Callable[[Head], LogView | None]) -> tuple[str, bytes]:
        from ama.stores.revisions import go_back, parse_revision

        head = self._tree.head.read().head
        revision = parse_revision(name, head.class_name)
        start = self._start(revision, head, look)
        return go_back(name, start, revision.back, lambda each: self._content.sources().asset(each))

    def _start(
        self, revision: Revision, head: Head, look: Callable[[Head], LogView | None]
    ) -> tuple[str, bytes]:
        from ama.stores.revisions import find_asset

        if revision.head:
            if head.asset is None:
                raise NotFound(
                    f"no asset of {head.class_name} was made here yet",
                    hint=Hint("make-and-upload"),
                )
            return head.class_name, head.asset
        url = self._stores.url(None, head)
        local = self._local(revision.prefix, revision.class_name)
        view = look(head)
        if view is None:
            if len(local) == 1:
                return local.pop()
            raise NotFound(
                f"there is no ama store at {url} yet, so only HEAD has a name",
                hint=Hint("push-first" if head.asset else "upload-first"),
            )
        try:
            return find_asset(view, revision, url)
        except NotFound:
            if len(local) == 1:
                return local.pop()
            if revision.prefix is None or head.origin in (None, url):
                raise
        # An id is the same in every store, and HEAD's origin has HEAD's ancestors.
        origin = head.origin or url
        return find_asset(self._stores.view(origin), revision, origin)

    def _local(self, prefix: str | None, class_name: str | None) -> set[tuple[str, bytes]]:
        """Return the local assets whose id begins with a prefix, as (class, id).

        If a class is given, return only assets of that class.
        """
        if prefix is None:
            return set()
        found = set()
        for object_id in self._tree.objects.store.starting_with(prefix):
            with suppress(AmaError):
                found.add((self._tree.objects.asset(object_id).class_name, object_id))
        return {each for each in found if class_name in (None, each[0])}
