"""Opening what a command works on: the worktree around it, a store, or whichever there is."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ama.cli.output import console
from ama.system.encoding import from_system, to_system

if TYPE_CHECKING:
    from ama.asset import Asset
    from ama.catalog.values import Summary
    from ama.errors import Hint, StorageError
    from ama.repo import Repo
    from ama.settings import Settings
    from ama.store import Store
    from ama.values import AssetInfo, ClassInfo, File


_NAMED = 3


def open_repo() -> Repo:
    """Open the worktree that the working directory is in."""
    from ama.errors import NotFound

    try:
        return _open_here()
    except NotFound as error:
        raise NotFound(error.message, hint=way_to_a_worktree()) from None


def open_to_change() -> Repo:
    """Open the worktree around the working directory, and say which it is if it begins above.

    Who believes to have begun one here would else change another asset unseen.
    """
    repo = open_repo()
    if not os.path.samefile(repo.root, os.curdir):
        console.note(f"in the worktree {repo.root}, {repo.class_name}")
    return repo


def _open_here() -> Repo:
    from ama.cli.output import terminal_progress
    from ama.repo import Repo

    return Repo.open(Path.cwd(), progress=terminal_progress())


def find_repo() -> Repo | None:
    """Open the worktree that the working directory is in, if it is in one."""
    from ama.errors import NotFound

    try:
        return _open_here()
    except NotFound:
        return None


def way_to_a_worktree() -> Hint | str:
    """The hint for who stands in none: most have just made one, in a directory of this one."""
    from ama.errors import Hint, shown
    from ama.settings import CONTROL_DIRECTORY

    try:
        with os.scandir() as found:
            directories = sorted(entry.name for entry in found if entry.is_dir())
    except OSError:
        directories = []
    below = [name for name in directories if os.path.isdir(os.path.join(name, CONTROL_DIRECTORY))]
    if not below:
        return Hint("get-or-start")
    words = [shown(shlex.quote(from_system(name))) for name in below[:_NAMED]]
    more = f" (and {len(below) - _NAMED} more)" if len(below) > _NAMED else ""
    ways = " or ".join(f"cd {word}" for word in words)
    return f"go to a worktree below: {ways}{more}; or run ama -C {words[0]} ..."


def path_in_asset(path: str) -> str:
    """A path of an asset: relative to its top or, if it begins with a dot as in `./a` or `../a`,
    to the working directory's place in the worktree.
    """
    if path.split("/")[0] not in (os.curdir, os.pardir):
        return path
    return from_system(os.path.relpath(to_system(path), open_repo().root)).replace(os.sep, "/")


def open_store(remote: str | None = None) -> Store:
    """Open a remote by name or URL, or the default one, as seen from the working directory."""
    from ama.errors import Conflict

    try:
        repo = find_repo()
    except Conflict:  # an interrupted download, which must be finished from inside it too
        repo = None
    if repo is not None:
        return repo.store(remote)
    from ama.cli.output import terminal_progress
    from ama.settings import Settings
    from ama.store import Store

    return Store.default(Settings.load(None), progress=terminal_progress(), remote=remote)


def name_in_store(name: str, remote: str | None = None) -> str:
    """Turn HEAD and `@best`, words of the worktree that the working directory is in, into a store's
    own.
    """
    if name.startswith("@"):
        repo = find_repo()
        return name if repo is None else repo.class_name + name
    if name.partition("~")[0] != "HEAD":
        return name
    from ama.errors import Hint, NotFound

    repo = find_repo()
    if repo is None:
        raise NotFound(
            f"{name} is the asset that a worktree comes from, and there is no worktree here",
            hint=(Hint("name-an-asset"), way_to_a_worktree()),
        )
    if repo.head is not None and repo.head.number is not None:  # known without asking a store
        return name.replace("HEAD", repo.head.id, 1)
    found = repo.resolve(name)
    if found.number is None and remote is None:
        raise NotFound(f"{name} is not published yet", hint=Hint("push-it"))
    return found.id


def config_path(user: bool) -> Path:
    """The file that a change goes to: the worktree's, or the user's outside of every worktree."""
    from ama.errors import NotFound
    from ama.settings import user_config_path, worktree_config_path
    from ama.worktree.layout import Worktree

    if not user:
        # Not by opening it: its settings may be what is to be repaired.
        with contextlib.suppress(NotFound):
            return worktree_config_path(Worktree.find(Path.cwd()).root)
    return user_config_path()


def load_settings() -> Settings:
    """The settings that hold in the working directory."""
    repo = find_repo()
    if repo is not None:
        return repo.settings
    from ama.settings import Settings

    return Settings.load(None)


class Source(Protocol):
    """Where assets are read from: a worktree with what it knows of its remotes, or a store."""

    @property
    def away(self) -> StorageError | None:
        """Why the store was not asked, where what was seen of it last served."""
        ...

    @property
    def remote_url(self) -> str:
        """Where the store is."""
        ...

    def classes(self) -> tuple[ClassInfo, ...]:
        """List the classes of the store."""
        ...

    def assets(self, class_name: str) -> tuple[AssetInfo, ...]:
        """List the assets of a class, newest first."""
        ...

    def resolve(self, name: str) -> AssetInfo:
        """Find an asset by any of its names."""
        ...

    def summary(self, name: str) -> Summary:
        """Sum an asset up."""
        ...

    def files(self, name: str, path: str = "") -> tuple[File, ...]:
        """List the files of an asset, or those at and below a path of it."""
        ...

    def file(self, path: str, asset: str) -> File:
        """Find a file of an asset."""
        ...

    def read(self, path: str, asset: str) -> Iterator[bytes]:
        """Read a file of an asset, verified."""
        ...

    def log(self, asset: str, *, limit: int | None = None) -> list[AssetInfo]:
        """List an asset and those that it came from, newest first."""
        ...

    def history(self, class_name: str, *, limit: int | None = None) -> list[AssetInfo]:
        """List every asset that was ever made of a class, newest first."""
        ...


class StoreSource:
    """A store as a source, for commands that run outside of every worktree, or name a remote."""

    def __init__(self, remote: str | None = None) -> None:
        self._remote = remote
        self._opened: Store | None = None

    def _store(self) -> Store:
        if self._opened is None:
            self._opened = open_store(self._remote).snapshot()
        return self._opened

    away = None

    @property
    def remote_url(self) -> str:
        """Where the store is."""
        return self._store().url

    def classes(self) -> tuple[ClassInfo, ...]:
        """List the classes of the store."""
        return self._store().classes()

    def assets(self, class_name: str) -> tuple[AssetInfo, ...]:
        """List the assets of a class, newest first."""
        return self._store().assets(class_name)

    def _asset(self, name: str) -> Asset:
        name = name_in_store(name, self._remote)  # before a store is asked for what isn't its own
        return self._store().resolve(name)

    def resolve(self, name: str) -> AssetInfo:
        """Find an asset by any of its names."""
        return self._asset(name).info

    def summary(self, name: str) -> Summary:
        """Sum an asset up."""
        return self._asset(name).summary()

    def files(self, name: str, path: str = "") -> tuple[File, ...]:
        """List the files of an asset, or those at and below a path of it."""
        return self._asset(name).files(path)

    def file(self, path: str, asset: str) -> File:
        """Find a file of an asset."""
        return self._asset(asset).file(path)

    def read(self, path: str, asset: str) -> Iterator[bytes]:
        """Read a file of an asset, verified."""
        return self._asset(asset).open(path)

    def log(self, asset: str, *, limit: int | None = None) -> list[AssetInfo]:
        """List an asset and those that it came from, newest first."""
        name = name_in_store(asset, self._remote)
        return self._store().log(name, limit=limit)

    def history(self, class_name: str, *, limit: int | None = None) -> list[AssetInfo]:
        """List every asset that was ever made of a class, newest first."""
        return self._store().history(class_name, limit=limit)


def open_source(remote: str | None = None) -> Source:
    """Open the remote that is named, else the worktree, else the default store.

    Args:
        remote: A remote by name or URL.
    """
    from ama.errors import Conflict

    try:
        repo = find_repo() if remote is None else None
    except Conflict:  # an interrupted download: of its store there is no worktree yet
        repo = None
    return repo or StoreSource(remote)


def note_if_away(source: Source) -> None:
    """Say where a store was not asked, so that what was printed is what was seen of it last."""
    if source.away is not None:
        console.note(f"this is what was seen last, and may be old: {source.away.message}")
