"""Opening the target of a command: the worktree around it, a store, or whichever there is."""

from __future__ import annotations

import contextlib
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ama.cli.output import console
from ama.system.encoding import from_system, to_system

if TYPE_CHECKING:
    from ama.errors import Hint, StorageError
    from ama.repo import Repo
    from ama.settings import Settings
    from ama.store import Store

    Source = Repo | Store
    """A worktree or a store: both have the same methods to list and read assets."""


_NAMED = 3


def open_repo() -> Repo:
    """Open the worktree around the working directory."""
    from ama.errors import NotFound

    try:
        return _open_here()
    except NotFound as error:
        raise NotFound(error.message, hint=way_to_a_worktree()) from None


def open_to_change() -> Repo:
    """Open the worktree around the working directory, and name it if its root is higher up.

    Otherwise a user who forgot `ama init` here would change another asset without noticing.
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
    """Open the worktree around the working directory; return None if there is none."""
    from ama.errors import NotFound

    try:
        return _open_here()
    except NotFound:
        return None


def way_to_a_worktree() -> Hint | str:
    """Return the hint for a user outside of worktrees, who often has just made one below."""
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
    """Return a path relative to the asset's root.

    A path such as `./a` or `../a` is relative to the working directory.
    """
    if path.split("/")[0] not in (os.curdir, os.pardir):
        return path
    return from_system(os.path.relpath(to_system(path), open_repo().root)).replace(os.sep, "/")


def open_store(remote: str | None = None) -> Store:
    """Open a remote by name or URL, or the default one of the working directory."""
    from ama.errors import Conflict

    try:
        repo = find_repo()
    except Conflict:  # inside an interrupted download, which this command may have to finish
        repo = None
    if repo is not None:
        return repo.store(remote)
    from ama.cli.output import terminal_progress
    from ama.settings import Settings
    from ama.store import Store

    return Store.default(Settings.load(None), progress=terminal_progress(), remote=remote)


def open_reached(remote: str | None = None) -> Store:
    """Open a store as `open_store` does; if it can't be reached, as this machine saw it last."""
    from ama.cli.output import terminal_progress
    from ama.publication import reached
    from ama.settings import Settings

    repo = _find_repo_unless(remote)
    settings = load_settings() if repo is not None or remote is not None else Settings.load(None)
    url = settings.remote_url(remote) if repo is None else repo.remote_url
    return reached(url, settings, terminal_progress())


def name_in_store(name: str, remote: str | None = None) -> str:
    """Translate HEAD and `@best`, names of the worktree around here, to names of a store."""
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
    if repo.head is not None and repo.head.number is not None:  # known without a request
        return name.replace("HEAD", repo.head.id, 1)
    found = repo.resolve(name)
    if found.number is None and remote is None:
        raise NotFound(f"{name} is not published yet", hint=Hint("push-it"))
    return found.id


def config_path(user: bool) -> Path:
    """Return the config file to change: the worktree's or, outside of worktrees, the user's."""
    from ama.errors import NotFound
    from ama.settings import user_config_path, worktree_config_path
    from ama.worktree.layout import Worktree

    if not user:
        # Don't open the worktree: the command may have to repair its settings.
        with contextlib.suppress(NotFound):
            return worktree_config_path(Worktree.find(Path.cwd()).root)
    return user_config_path()


def load_settings() -> Settings:
    """Load the settings that apply in the working directory."""
    repo = find_repo()
    if repo is not None:
        return repo.settings
    from ama.settings import Settings

    return Settings.load(None)


def open_source(remote: str | None = None) -> Source:
    """Open the named remote, else the worktree, else the default store.

    Args:
        remote: A remote by name or URL.
    """
    return _find_repo_unless(remote) or open_store(remote).snapshot()


def open_asset(name: str, remote: str | None = None) -> tuple[Source, str]:
    """Open the source of an asset, see `open_source`; return the source and the asset's name there.

    Args:
        name: The asset's name; in a worktree also HEAD or `@alias`.
        remote: A remote by name or URL.
    """
    repo = _find_repo_unless(remote)
    if repo is not None:
        return repo, name
    name = name_in_store(name, remote)  # before opening a store, which does not know HEAD
    return open_store(remote).snapshot(), name


def _find_repo_unless(remote: str | None) -> Repo | None:
    from ama.errors import Conflict

    try:
        return find_repo() if remote is None else None
    except Conflict:  # an interrupted download, which is no worktree yet
        return None


def store_url(source: Source) -> str:
    """Return the URL of the store behind a source."""
    from ama.repo import Repo

    return source.remote_url if isinstance(source, Repo) else source.url


def note_if_away(source: Source) -> None:
    """Print a note if the store can't be reached, so that the output may be old."""
    from ama.repo import Repo

    if isinstance(source, Repo):
        note_last_seen(source.away)


def note_last_seen(away: StorageError | None) -> None:
    """Print a note if a store can't be reached, so that what was seen last is used."""
    if away is not None:
        console.note(f"this is what was seen last, and may be old: {away.message}")
