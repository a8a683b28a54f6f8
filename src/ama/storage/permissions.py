"""A storage in a shared directory: its members' permissions, and who blocks them.

Files that ama makes there have the rights of the top directory (`fs.Sharing`). Members are locked
out only by other files: a copy, another program, an older version, a closed directory above.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress

from ama.errors import StorageError, shown, storage_error
from ama.system import fs
from ama.system.encoding import from_system

NOBODY = 65534
"""The user that root tries as: it owns nothing."""

FLAT = ("log", "index")
"""The directories in which every publisher leaves a file: they show all publishers."""

_TRIAL = 'cat "$1" > /dev/null && mkdir "$2/d" && echo > "$2/d/f" && rm -r "$2/d"'


def refusal(error: StorageError, path: str, top: str, *, doing: str) -> StorageError:
    """Return an error that says who keeps us from a file, and what lets us in.

    Args:
        error: The system's error.
        path: The file.
        top: The storage's directory.
        doing: The refused action: "write" or "read".

    Returns:
        The error to raise: the same one, if nobody else owns what is in the way.
    """
    found = _in_the_way(path, top, doing)
    if sys.platform == "win32" or found is None:
        return error
    at, status = found
    if status.st_uid == os.geteuid():
        return error
    owner = _user(status.st_uid)
    verb = "read" if doing == "read" else "write to"
    return StorageError(
        f"no permission to {verb} {shown(from_system(at))}: it belongs to {owner}",
        hint=f"have {owner} run: {_mending(top, status)}",
        errno=error.errno,
    )


def require_open_to_members(top: str) -> str:
    """Check that the group of a shared directory may use everything in it.

    Args:
        top: The storage's directory.

    Returns:
        A sentence about what the check saw.

    Raises:
        StorageError: Something is closed to them; the error names its owner and the remedy.
    """
    sharing = fs.sharing_of(top)
    if sharing is None:
        return "only its owner may write there"
    looked = 0
    for path, status in _everything(top):
        wanted = sharing.mode & (0o077 if stat.S_ISDIR(status.st_mode) else 0o044)
        granted = stat.S_IMODE(status.st_mode)
        if status.st_gid != sharing.group:  # then members are only others
            granted = (granted & 0o007) * 0o011
        if wanted & ~granted:
            owner = _user(status.st_uid)
            here, store = shown(from_system(path)), shown(from_system(top))
            raise StorageError(
                f"{here} of {owner} is closed to others who may use {store}",
                hint=f"have {owner} run: {_mending(top, status)}",
            )
        looked += 1
    return f"{looked} files and directories are open to {_whom(sharing)}"


def try_as_member(top: str, file: str) -> str:
    """Read and write as another member of a shared directory's group.

    Args:
        top: The storage's directory.
        file: The path of a file in it, beside which to write.

    Returns:
        A sentence about what the check saw, or why it can't try.

    Raises:
        StorageError: Another member can't.
    """
    sharing = fs.sharing_of(top)
    if sys.platform == "win32" or sharing is None or os.geteuid() != 0:
        return "only root can try it as another user"
    import subprocess

    words = ["/bin/sh", "-c", _TRIAL, "sh", file, os.path.dirname(file)]
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(
            words,
            stdin=quiet,
            stdout=quiet,
            stderr=subprocess.PIPE,
            user=NOBODY,
            group=sharing.group,
            extra_groups=[],
            umask=0o077,
            cwd="/",
            timeout=60,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return f"it can't be tried as another user: {error}"
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise StorageError(
            f"another user of {_whom(sharing)} can't publish: {shown(' '.join(said))}",
            hint="let them pass through the directories above it: chmod o+x DIRECTORY",
        )
    return f"another user of {_whom(sharing)} can read and write"


def _in_the_way(path: str, top: str, doing: str) -> tuple[str, os.stat_result] | None:
    """Return the outermost directory above a file, or the file, that doesn't let us in."""
    below = os.path.relpath(path, top).split(os.sep)
    at = top
    for part in [*below, ""]:
        with suppress(OSError):
            status = os.stat(at)
            is_directory = stat.S_ISDIR(status.st_mode)
            last = not part or not os.path.lexists(os.path.join(at, part))
            if not os.access(at, os.X_OK if is_directory else os.R_OK):
                return at, status
            if doing == "write" and is_directory and (last or part == below[-1]):
                return None if os.access(at, os.W_OK) else (at, status)
        at = os.path.join(at, part)
    return None


def _everything(top: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the directories of a storage, and the files in those that everybody writes to."""
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        try:
            yield directory, os.stat(directory)
            with os.scandir(directory) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
            within = os.path.relpath(directory, top)
            for entry in listed:
                if entry.is_dir():
                    waiting.append(entry.path)
                elif within in (os.curdir, *FLAT) and not fs.is_temp(entry.name):
                    yield entry.path, entry.stat()
        except PermissionError:  # its mode has shown that
            continue
        except StorageError:
            raise
        except OSError as error:
            raise storage_error(error, error.filename or directory, doing="read") from error


def _mending(top: str, closed: os.stat_result) -> str:
    """Return the commands that open a storage to its members, for the owner of what is closed."""
    status = os.stat(top)
    place = shown(shlex.quote(from_system(top)))
    whom = "a" if status.st_mode & stat.S_IWOTH else "g"
    regroup = f"chgrp -R {_group(status.st_gid)} {place}; "
    other = closed.st_gid != status.st_gid
    return f"{regroup if other else ''}chmod -R {whom}+rwX {place}"


def _whom(sharing: fs.Sharing) -> str:
    return "everybody" if sharing.mode & stat.S_IWOTH else f"the group {_group(sharing.group)}"


def _user(number: int) -> str:
    with suppress(ImportError, KeyError):
        import pwd

        return shown(pwd.getpwuid(number).pw_name)
    return str(number)


def _group(number: int) -> str:
    with suppress(ImportError, KeyError):
        import grp

        return shown(grp.getgrgid(number).gr_name)
    return str(number)
