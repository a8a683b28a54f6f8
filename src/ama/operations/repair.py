"""Putting back what a store's log has lost: for a worktree's push, or for a remote alone."""

from __future__ import annotations

import os
from functools import partial

from ama.operations.session import Session
from ama.results import PutBack
from ama.settings import Settings
from ama.storage.urls import open_storage
from ama.system.encoding import from_system, path_text
from ama.system.progress import NO_PROGRESS, Progress
from ama.transfer.log_repair import Mended, mend, refuse_lost
from ama.worktree.head import Head


def repair_log(
    remote: str | os.PathLike[str] | None = None,
    *,
    settings: Settings | None = None,
    progress: Progress = NO_PROGRESS,
) -> tuple[PutBack, ...]:
    """Put back what a store's log has lost, also of a store that can't be opened without it.

    That is its entries, format.json, HINT and checkpoints, as this machine remembers them, or as
    another configured remote has them. Nothing is put back that isn't proven to be the same bytes.
    In a worktree, `Repo.push(repair=True)` does the same, and sends lost content again.

    Args:
        remote: a configured remote's name, or a URL; the default one if it isn't given.
        settings: what is configured; read by default.
        progress: is told of long work.

    Returns:
        What was put back.

    Raises:
        IntegrityError: something can't be put back; all else was. Or the log's history is another
            than this machine saw: nothing was.
        FormatError: the store needs a newer version of ama.
        StorageError: it can't be reached, or not be written to.

    Example:
        >>> import ama
        >>> ama.repair_log("./store")
        ()
    """
    settings = settings or Settings.load(None)
    named = None if remote is None else _name_of(remote)
    url, *others = (
        partial(open_storage, place, settings.options_at(place))
        for place in (settings.remote_url(named), *settings.urls())
    )
    storage = url()
    mended = mend(storage, settings.cache_dir, others, progress)
    refuse_lost(mended, storage.url)
    return mended.done


def _name_of(remote: str | os.PathLike[str]) -> str:
    """Return a remote's name or URL as a text: a path means a directory, whatever it is called."""
    text = path_text("the remote", remote)
    return text if isinstance(remote, str) else from_system(os.path.abspath(text))


def mend_log(session: Session, url: str, head: Head) -> Mended:
    """Put back what the log of a worktree's store has lost, as far as it can be had.

    Args:
        session: the worktree.
        url: the store's URL.
        head: HEAD.

    Raises:
        IntegrityError, FormatError, StorageError: see `mend`.
    """
    others = [partial(session.stores.storage, place) for place in session.stores.urls(head)]
    cache_dir = session.settings.cache_dir
    mended = mend(session.stores.storage(url), cache_dir, others, session.progress)
    if mended.done:
        session.stores.forget(url)
    return mended
