"""Atomic changes to the disk. No other module renames, links or syncs.

A file is written under a temporary name beside its place, made durable, and only then given
its name. So a reader sees the whole file or none, even after a crash.
`is_temp` recognises temporary names; only their writer may read such files.

Every function turns the system's errors into a `StorageError` of one clear line.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

from ama.errors import StorageError, shown, storage_error
from ama.system.disk import explained, require_file
from ama.system.encoding import from_system, to_system
from ama.system.syscalls import Sharing as Sharing
from ama.system.syscalls import System
from ama.system.syscalls import is_ours as is_ours

Buffer = bytes | bytearray | memoryview
AnyPath = str | os.PathLike[str]

_TEMP_PREFIX = ".tmp-"
_TEMP_DIGITS = 16
_NFC, _NFD = "-\u00e9", "-e\u0301"
_HEX = frozenset("0123456789abcdef")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
_NEW |= getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NOINHERIT", 0)

PIECE = 128 * 1024
"""The size of a write. The kernel copies larger pieces many times slower, because it takes fresh
memory for each (seen with ext4 on Linux 6)."""

_HELD = (_NEW & ~(os.O_EXCL | os.O_WRONLY)) | os.O_RDWR

_UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_NO_SYNC = (*_UNSUPPORTED, errno.EINVAL, errno.EBADF)
_OVER = (_NEW & ~os.O_EXCL) | os.O_TRUNC

_AT_ONCE = getattr(os, "O_NONBLOCK", 0)
"""Don't wait for a pipe that stands in a file's place. For a file the flag means nothing."""

# The errors of link(2) on file systems without links (FAT, some network and FUSE file systems).
_NO_LINK = (*_UNSUPPORTED, errno.EPERM, errno.EACCES, errno.EXDEV, errno.EMLINK, errno.EINVAL)

# The errors of a rename of a directory whose files must go one by one.
_STAYS = (errno.EXDEV, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EBUSY, *_NO_LINK)

# Tests replace it with one that dies at its k-th call.
_os = System()


def sharing_of(directory: AnyPath) -> Sharing | None:
    """Return the rights of a shared directory; None where the umask decides.

    A directory is shared if its group or everybody may write to it, or if it is setgid. As with
    git's core.sharedRepository, others must be able to use what one user makes there.

    Example:
        >>> make_directories("mine")
        >>> os.chmod("mine", 0o700)
        >>> sharing_of("mine") is None
        True
    """
    if sys.platform == "win32":
        return None
    with suppress(OSError):  # the writer will report what is wrong with it
        status = os.stat(directory)
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_ISGID):
            return Sharing(stat.S_IMODE(status.st_mode), status.st_gid)
    return None


def write_new(
    path: AnyPath,
    data: Buffer | Iterable[Buffer],
    *,
    temp_in: AnyPath | None = None,
    sharing: Sharing | None = None,
) -> None:
    """Write a file that must not exist yet; of many writers at once, exactly one succeeds.

    Args:
        path: The file's place; its directory exists.
        data: The content, or its parts in order. It isn't copied. If taking the next part
            raises, nothing is left behind and the error passes through.
        temp_in: The directory for the temporary file, where a crash may leave it; None: that
            of `path`.
        sharing: The rights that it gets; None: what the umask says.

    Raises:
        FileExistsError: Something has that name. It is untouched.
        StorageError: The disk refused, or its file system can't create a file atomically.

    Example:
        >>> write_new("entry", b"one")
        >>> write_new("entry", b"two")
        Traceback (most recent call last):
            ...
        FileExistsError: [Errno 17] File exists: 'entry'
    """
    target = os.fspath(path)
    if os.path.lexists(target):
        raise _taken(target)
    where = os.path.dirname(target) if temp_in is None else temp_in
    place(write_temp(where, data, sharing=sharing), target, replace=False)


def write_replace(
    path: AnyPath,
    data: Buffer | Iterable[Buffer],
    *,
    temp_in: AnyPath | None = None,
    sharing: Sharing | None = None,
) -> None:
    """Write a file, replacing what has the name: readers see the old or the new one, whole.

    Args:
        path: The file's place; its directory exists.
        data: The content, or its parts in order, as in `write_new`.
        temp_in: As in `write_new`.
        sharing: As in `write_new`.

    Raises:
        StorageError: The disk refused; the old file is untouched.

    Example:
        >>> write_replace("HINT", b"7")
    """
    target = os.fspath(path)
    where = os.path.dirname(target) if temp_in is None else temp_in
    place(write_temp(where, data, sharing=sharing), target)


def write_temp(
    directory: AnyPath,
    data: Buffer | Iterable[Buffer],
    *,
    executable: bool = False,
    sync: bool = True,
    sharing: Sharing | None = None,
) -> str:
    r"""Write a whole temporary file, for `place` to give it its name.

    Args:
        directory: Its directory, on the file system of its later place.
        data: The content, or its parts in order, as in `write_new`.
        executable: Whether it is a program.
        sync: Whether it is durable when this returns. If not, a crash of the machine may leave
            other content under its name: only for files that can be downloaded again.
        sharing: As in `write_new`.

    Returns:
        The temporary file's path.

    Raises:
        StorageError: The disk refused; nothing is left behind.

    Example:
        >>> place(write_temp(".", b"#!/bin/sh\n", executable=True), "run.sh")
    """
    where = os.fspath(directory) or "."
    temp = os.path.join(os.fspath(directory), temp_name())
    with explained(where):
        fd = _os.open(temp, _NEW, 0o777 if executable else 0o666)
    try:
        try:
            if sharing is not None:
                with explained(where):
                    _os.share(fd, sharing, 0o600, 0o044)
            for view in _views(data):
                with explained(where):
                    while view:
                        view = view[_os.write(fd, view) :]
            if sync:
                with explained(where, unless=_NO_SYNC):
                    _os.fsync(fd)
        finally:
            with explained(where):  # network file systems tell only here that the disk is full
                os.close(fd)
    except BaseException:
        _discard(temp)
        raise
    return temp


def write_private(
    path: AnyPath, data: Buffer | Iterable[Buffer], *, executable: bool = False, new: bool = False
) -> os.stat_result:
    """Write a file in a directory that only its owner reads, over what is there.

    After a crash part of it may be there, so verify what you find. `place` or `move_directory`
    then gives whole ones their names.

    Args:
        path: The file's place; its directory exists.
        data: The content, or its parts in order, as in `write_new`.
        executable: Whether it is a program.
        new: Whether nothing may have the name: else FileExistsError is raised.

    Returns:
        The file's stat data, which stay when its directory gets another name.

    Raises:
        StorageError: The disk refused.

    Example:
        >>> write_private("incoming", b"content").st_size
        7
        >>> place("incoming", "file.txt")
    """
    target = os.fspath(path)
    with explained(target):
        fd = _os.open(target, _NEW if new else _OVER | _AT_ONCE, 0o777 if executable else 0o666)
        try:
            if not new:
                require_file(fd, target)
            for view in _views(data):
                while view:
                    view = view[_os.write(fd, view) :]
            status = os.fstat(fd)
        finally:
            os.close(fd)
        return os.stat(target) if sys.platform == "win32" else status  # closing sets times there


def place(
    temp: AnyPath, path: AnyPath, *, replace: bool = True, sync: bool = True, keep: bool = False
) -> None:
    """Give a finished temporary file its name, at once; the temporary name is always gone.

    Args:
        temp: The temporary file (or symlink), on the file system of `path`.
        path: The file's place.
        replace: Whether to replace a file that is there.
        sync: Whether the name is durable when this returns.
        keep: Whether to keep the temporary file if placing it fails, for another try.

    Raises:
        FileExistsError: The place is taken, and `replace` is off.
        StorageError: The disk refused; the place is untouched.

    Example:
        >>> place(write_temp(".", b"content"), "file.txt")
    """
    source, target = os.fspath(temp), os.fspath(path)
    try:
        if replace:
            _replace(source, target)
        else:
            _name_new(source, target)
    except BaseException as error:
        if not keep:
            _discard(source)
        if isinstance(error, OSError) and not isinstance(error, (StorageError, FileExistsError)):
            raise storage_error(error, target) from error
        raise
    if not replace:
        _discard(source)  # after a link it is the file's second name
    if sync:
        sync_directory(os.path.dirname(target))


def place_new(temp: AnyPath, path: AnyPath) -> None:
    """Give a private file its name, unsynced, unless something has it, by a look if need be.

    Raises:
        StorageError, FileExistsError: The disk refused, or the place is taken.

    Example:
        >>> _ = write_private("incoming", b"content")
        >>> place_new("incoming", "new.txt")
    """
    source, target = os.fspath(temp), os.fspath(path)
    with explained(target):
        try:
            _os.rename_new(source, target)
        except FileExistsError:
            raise _taken(target) from None
        except OSError as error:
            if error.errno not in _NO_LINK or error.errno == errno.EXDEV:
                raise
            if os.path.lexists(target):
                raise _taken(target) from None
            _replace(source, target)


def move_directory(source: AnyPath, path: AnyPath) -> bool:
    """Give a directory another name, at once, unsynced; nothing but an empty one is replaced.

    Returns:
        Whether it has the name: not if something else has it, or on another file system.

    Raises:
        StorageError: The disk refused.

    Example:
        >>> make_directories("incoming/data")
        >>> move_directory("incoming/data", "data")
        True
    """
    try:
        _os.replace(os.fspath(source), os.fspath(path))
    except OSError as error:
        if error.errno not in _STAYS:
            raise storage_error(error, path) from error
        return False
    return True


def make_symlink(
    target: str,
    path: AnyPath,
    *,
    replace: bool = True,
    sync: bool = True,
    temp_in: AnyPath | None = None,
) -> None:
    """Make a symlink to `target`, at once.

    Args:
        target: The text of the symlink.
        path: Its place.
        replace: Whether to replace a file that is there.
        sync: Whether the name is durable when this returns.
        temp_in: The directory for the temporary symlink, where a crash may leave it; None: that
            of `path`.

    Raises:
        FileExistsError: The place is taken, and `replace` is off.
        StorageError: The disk refused, or the system has no symlinks.

    Example:
        >>> make_symlink("model.h5", "latest")
    """
    directory = os.path.dirname(os.fspath(path)) if temp_in is None else os.fspath(temp_in)
    temp = os.path.join(directory, temp_name())
    with explained(path):
        _os.symlink(to_system(target), temp)
    place(temp, path, replace=replace, sync=sync)


def remove(path: AnyPath, missing_ok: bool = True) -> None:
    """Delete a file or symlink; by default it needn't exist.

    Example:
        >>> remove("no-such-file")
    """
    with explained(path, unless=(errno.ENOENT, errno.ENOTDIR) if missing_ok else ()):
        _os.unlink(os.fspath(path))


def set_executable(path: AnyPath, executable: bool) -> None:
    """Let everybody who may read a file execute it, or nobody.

    Example:
        >>> write_replace("run.sh", b"")
        >>> set_executable("run.sh", True)
    """
    with explained(path):
        old = stat.S_IMODE(os.stat(path).st_mode)
        new = old | (old & 0o444) >> 2 if executable else old & ~0o111
        if new != old:
            _os.chmod(os.fspath(path), new)


def hold(path: AnyPath) -> int | None:
    """Make a file and lock it until its descriptor is closed or the process ends.

    The lock tells others that somebody is at work. Don't rely on it: where the file system has no
    locks, everyone gets it.

    Args:
        path: The file; it may exist.

    Returns:
        Its descriptor; None if another process has the lock, or has just deleted the file.

    Raises:
        StorageError: The disk refused.

    Example:
        >>> descriptor = hold("lock")
        >>> hold("lock") is None
        True
        >>> os.close(descriptor)
    """
    target = os.fspath(path)
    with explained(target, unless=(errno.ENOENT,)):
        fd = _os.open(target, _HELD | _AT_ONCE, 0o666)
        try:
            require_file(fd, target)
            held = _lock(fd) and os.path.samestat(os.fstat(fd), os.lstat(target))
        except BaseException:
            os.close(fd)
            raise
        if held:
            return fd
        os.close(fd)
    return None


def _lock(fd: int) -> bool:
    """Lock a file, unless another process has the lock; True also where there are no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True


def let_go(fd: int) -> None:
    """Unlock and close a descriptor of `hold`, even if a child process inherited it.

    Example:
        >>> let_go(hold("lock"))
        >>> let_go(hold("lock"))
    """
    with suppress(OSError):  # where there are no locks
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_UN)
    with suppress(OSError):  # nothing was written that could be lost
        os.close(fd)


def touch(path: AnyPath) -> None:
    """Set a file's times to now: it is in use. It needn't exist.

    Example:
        >>> touch("no-such-file")
    """
    now = time.time_ns()
    with explained(path, unless=(errno.ENOENT, errno.ENOTDIR)):
        _os.utime(os.fspath(path), (now, now))


def make_directories(
    path: AnyPath, *, sync: bool = True, top: AnyPath | None = None, sharing: Sharing | None = None
) -> None:
    """Make a directory and its missing parents; with `sync`, durably.

    Args:
        path: The directory.
        sync: Whether it is durable when this returns.
        top: A parent with the rights `sharing`. The directories below it get them too, also
            those that are there already and are ours.
        sharing: The rights; None: what the umask says.

    Raises:
        StorageError: The disk refused, or there is a file of that name.

    Example:
        >>> make_directories("packs/3f")
    """
    target = os.fspath(path)
    if top is not None and target == os.fspath(top):
        top = sharing = None  # it has them, and its parents are not our business
    is_there = not target or os.path.isdir(target)
    if is_there and sharing is None:
        return
    parent = os.path.dirname(target.rstrip(os.sep))
    if parent != target:
        make_directories(parent, sync=sync, top=top, sharing=sharing)
    made = not is_there and _make_directory(target)
    if sharing is not None and target:
        _share_directory(target, sharing)
    if made and sync:
        sync_directory(parent)


def _make_directory(path: str) -> bool:
    """Make a directory; return whether it is new."""
    try:
        _os.mkdir(path)
    except FileExistsError:
        if os.path.isdir(path):
            return False  # somebody else was faster
        raise StorageError(
            f"{shown(path)} is in the way: it is a file, not a directory", errno=errno.ENOTDIR
        ) from None
    except OSError as error:
        raise storage_error(error, path) from error
    return True


def _share_directory(path: str, sharing: Sharing) -> None:
    with explained(path, unless=(errno.EACCES, errno.ELOOP, errno.ENOTDIR)):
        status = os.stat(path)
        as_it_is = Sharing(stat.S_IMODE(status.st_mode), status.st_gid)
        if as_it_is == sharing or not is_ours(status):
            return
        # By its descriptor: a member of the group may replace it with a symlink meanwhile.
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _os.share(fd, sharing, 0o700, 0o3077)
        finally:
            os.close(fd)


def remove_empty_directory(path: AnyPath) -> bool:
    """Delete a directory if it is empty; return whether it is gone.

    Example:
        >>> make_directories("empty")
        >>> remove_empty_directory("empty")
        True
    """
    keeps = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EBUSY, errno.ENOENT)
    with explained(path, unless=keeps):
        _os.rmdir(os.fspath(path))
    return not os.path.lexists(path)


def sync_directory(path: AnyPath) -> None:
    """Make the names in a directory durable; do nothing where the system has no such call.

    Example:
        >>> sync_directory(".")
    """
    name = os.fspath(path) or "."
    if sys.platform != "win32":
        # One may be allowed to write to a directory but not to read it, which fsync needs.
        with explained(name, unless=(*_NO_SYNC, errno.EACCES)):
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _os.fsync(fd)
            finally:
                os.close(fd)


def temp_name() -> str:
    """Return a new name for a temporary file.

    Example:
        >>> is_temp(temp_name())
        True
    """
    return _TEMP_PREFIX + os.urandom(_TEMP_DIGITS // 2).hex()


def is_temp(name: str) -> bool:
    """Whether a file of this name (without a directory) is a temporary file of ama's.

    Example:
        >>> is_temp(".tmp-mine")
        False
    """
    if not name.startswith(_TEMP_PREFIX):
        return False
    rest = name[len(_TEMP_PREFIX) :].removesuffix(_NFC).removesuffix(_NFD)
    return len(rest) == _TEMP_DIGITS and _HEX.issuperset(rest)


def remove_stale_temps(directory: AnyPath, older_than_s: float) -> int:
    """Delete the temporary files that a crash left in a directory; return how many.

    Args:
        directory: The directory, without those below it. If it can't be read, nothing happens.
        older_than_s: Seconds since the last write to the file: files in use are younger.

    Example:
        >>> remove_stale_temps(".", older_than_s=86400)
        0
    """
    removed = 0
    with suppress(OSError):  # others may remove them as well: it is litter, not content
        with os.scandir(directory) as entries:
            temps = [entry for entry in entries if is_temp(entry.name)]
        limit = _time_in(os.fspath(directory)) - older_than_s if temps else 0.0
        for entry in temps:
            status = entry.stat(follow_symlinks=False)
            if status.st_mtime <= limit and not stat.S_ISDIR(status.st_mode):
                _os.unlink(entry.path)
                removed += 1
    return removed


def _time_in(directory: str) -> float:
    """Return the time by a directory's file system: a server's clock may differ from ours."""
    path = os.path.join(directory, temp_name())
    fd = _os.open(path, _NEW, 0o600)
    try:
        return os.fstat(fd).st_mtime
    finally:
        os.close(fd)
        _discard(path)


def is_case_blind(directory: AnyPath) -> bool:
    """Whether a directory takes `a` and `A` for the same name; try it with a temporary file.

    Example:
        >>> is_case_blind(".") in (True, False)
        True
    """
    name = temp_name()
    return _found_as(os.fspath(directory), name, name.upper())


def normalizes_names(directory: AnyPath) -> bool:
    """Whether a directory takes an accented letter and its decomposed form for the same name.

    Example:
        >>> normalizes_names(".") in (True, False)
        True
    """
    name = temp_name()
    return _found_as(os.fspath(directory), name + _NFC, name + _NFD)


def _found_as(directory: str, name: str, other: str) -> bool:
    path = os.path.join(directory, name)
    with explained(directory or "."):
        os.close(_os.open(path, _NEW, 0o666))
    try:
        return os.path.lexists(os.path.join(directory, other))
    finally:
        remove(path)


def _views(data: Buffer | Iterable[Buffer]) -> Iterator[memoryview]:
    """Yield each part as bytes, in pieces, without a copy; a mapped file is buffer and iterable."""
    try:
        parts: Iterable[Buffer] = (memoryview(data),)  # type: ignore[arg-type]
    except TypeError:
        parts = data  # type: ignore[assignment]
    for part in parts:
        view = memoryview(part)
        if view.nbytes:
            flat = view if view.format == "B" and view.ndim == 1 else view.cast("B")
            yield from (flat[at : at + PIECE] for at in range(0, flat.nbytes, PIECE))


def _name_new(source: str, target: str) -> None:
    try:
        _os.link(source, target)
    except FileExistsError:
        # A network file system that repeats a request after a lost answer finds its own file.
        if not _is_same_file(source, target):
            raise _taken(target) from None
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _rename_new(source, target)


def _rename_new(source: str, target: str) -> None:
    try:
        _os.rename_new(source, target)
    except FileExistsError:
        raise _taken(target) from None
    except OSError as error:
        if error.errno not in _NO_LINK or error.errno == errno.EACCES:
            raise
        raise StorageError(
            f"the file system of {shown(from_system(target))} can't create a file atomically",
            hint="use a directory on another file system",
            errno=error.errno,
        ) from error


def _is_same_file(one: str, other: str) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except OSError:
        return False


def _replace(source: str, target: str) -> None:
    # On Windows a reader or a virus scanner may block it for a moment.
    for attempt in range(9 if sys.platform == "win32" else 0):
        with suppress(PermissionError):
            return _os.replace(source, target)
        time.sleep(0.01 * 2**attempt)
    return _os.replace(source, target)


def _discard(temp: str) -> None:
    with suppress(OSError):  # `remove_stale_temps` finds what stays
        _os.unlink(temp)


def _taken(target: str) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
