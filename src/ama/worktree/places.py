"""Which paths may have a place in a worktree: what this system can hold, and git doesn't run."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from ama.errors import Conflict, InvalidInput, shown
from ama.format.names import fold_name, is_git_directory, unportable_reason
from ama.system import fs
from ama.system.encoding import to_system
from ama.worktree.layout import CONTROL
from ama.worktree.scan import directories_of


def require_no_git(paths: Iterable[str], instead: str = "") -> None:
    """Check that nothing comes where git takes it for its own: it runs commands that stand there.

    Args:
        paths: the paths that are to be written.
        instead: the command to which `--exclude` is added, where it is another one.

    Raises:
        InvalidInput: something does.
    """
    found = sorted(filter(is_git_directory, {part for path in paths for part in path.split("/")}))
    if found:
        # As a glob, each sign that could mean something, or that can't be typed, may be any sign.
        globs = dict.fromkeys(re.sub("[^A-Za-z0-9.~]", "?", part) for part in found)
        words = shlex.join(word for glob in globs for word in ("--exclude", glob))
        raise InvalidInput(
            f"the asset has a '{shown(found[0])}', and git would run what is in it",
            hint=f"leave it out: {instead}{words}",
        )


def require_possible(control: Path, paths: Sequence[str]) -> None:
    """Check that this system can hold all paths, before anything is written.

    Args:
        control: the worktree's `.ama`, in whose file system they are to be.
        paths: the paths.

    Raises:
        InvalidInput: it can't.
    """
    if os.name == "nt":
        for path in paths:
            for part in path.split("/"):
                reason = unportable_reason(part)
                if reason is not None:
                    raise InvalidInput(
                        f"'{shown(path)}' can't be held by this system: {reason}",
                        hint=f"leave it out: --exclude '{shown(path)}'",
                    )
    folded: dict[str, str] = {}
    for path in paths:
        other = folded.setdefault(fold_name(path), path)
        if other != path and (fs.is_case_blind(control) or fs.normalizes_names(control)):
            raise InvalidInput(
                f"'{shown(other)}' and '{shown(path)}' are one name on this file system",
                hint=f"leave one out: --exclude '{shown(path)}'",
            )


def require_not_inside(root: Path, paths: Iterable[str]) -> None:
    """Check that nothing is to be written or deleted in a directory that is another worktree.

    Raises:
        Conflict: something is.
    """
    for directory in sorted(directories_of(paths)):
        if os.path.isdir(root / to_system(directory) / CONTROL):
            raise Conflict(
                f"{shown(directory)} is another ama worktree, and this would change files in it",
                hint=f"move it elsewhere first, or its {CONTROL}",
            )
