"""Checkpoints of the first form, which are read and no longer written: see docs/format.md."""

from __future__ import annotations

from ama.format.checkpoint import Checkpoint
from ama.format.conversion import checkpoint_of
from ama.format.state import Root
from ama.storage.protocol import Storage
from ama.stores.cache import Cache
from ama.stores.log_files import read_class_state, read_readable, state_name
from ama.stores.segments import Segments


def in_tables(
    root: Root, storage: Storage | None, cache: Cache, segments: Segments
) -> Checkpoint | None:
    """Return a root of the first form in tables; None if it lacks a class's state.

    Args:
        root: The root.
        storage: What is asked for the states that the cache lacks; None: nobody.
        cache: The store's cache on this machine.
        segments: What keeps the segments that are made.
    """
    names = {name: state_name(digest) for name, digest in root.classes.items()}
    datas = {name: cache.get(file) for name, file in names.items()}
    if storage is not None and (missing := [name for name in names if datas[name] is None]):
        answers = read_readable(storage, [names[name] for name in missing])
        datas.update(zip(missing, answers, strict=True))
    states = [read_class_state(n, digest, datas[n]) for n, digest in root.classes.items()]
    sound = [state for state in states if state is not None]
    if len(sound) < len(states):
        return None
    base = checkpoint_of(root, sound, segments.make)
    segments.remember(base.digests())
    return base
