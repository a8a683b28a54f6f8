"""Putting back what a store's log has lost: for a worktree's push, or for a remote alone."""

from __future__ import annotations

import os
from functools import partial

from ama.encoding import from_system
from ama.given import path_text
from ama.operations.session import Session
from ama.progress import NO_PROGRESS, Progress
from ama.remote import Remote
from ama.results import PutBack
from ama.settings import Settings
from ama.storage.opening import open_storage
from ama.transfer.mending import Mended, mend, refuse_lost


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
        IntegrityError: something can't be put back, or what this machine saw after the log's end
            is gone; all else was. Or the log's history is another than this machine saw: nothing
            was.
        NotFound: there is no store.
        FormatError: the store needs a newer version of ama.
        StorageError: it can't be reached, or not be written to, or it is gone.

    Example:
        >>> import ama
        >>> store = ama.Store.open("store")
        >>> ama.repair_log(store.url)
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
    # Where nothing was put back, there may be nothing: that is for who reads it to tell.
    Remote.open(storage, settings.cache_dir).view().require_whole()
    return mended.done


def _name_of(remote: str | os.PathLike[str]) -> str:
    """Return a remote's name or URL as a text: a path means a directory, whatever it is called."""
    text = path_text("the remote", remote)
    return text if isinstance(remote, str) else from_system(os.path.abspath(text))


def mend_log(session: Session, url: str, origin: str | None) -> Mended:
    """Put back what the log of a worktree's store has lost, as far as it can be had.

    Args:
        session: the worktree.
        url: the store's URL.
        origin: the URL of the store that HEAD comes from.

    Raises:
        IntegrityError, FormatError, StorageError: see `mend`.
    """
    places = dict.fromkeys([place for place in (origin, *session.settings.urls()) if place])
    others = [partial(session.storage, place) for place in places]
    cache_dir = session.settings.cache_dir
    mended = mend(session.storage(url), cache_dir, others, session.progress)
    if mended.done:
        session.forget(url)
    return mended
