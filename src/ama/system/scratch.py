"""Directories for temporary files, which only the process that made them deletes."""

from __future__ import annotations

import os
import stat
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ama.errors import StorageError, storage_error


class Scratch:
    """A new directory, deleted by `remove`, as a context, or with the object.

    `tempfile.TemporaryDirectory` is deleted by each forked process that ends, too: a worker that a
    training has forked would take away what the training is about to publish.

    Args:
        prefix: The beginning of its name.
        place: The directory in which to make it; by default the system's for temporary files.

    Raises:
        StorageError: It can't be made.

    Example:
        >>> with Scratch("ama-") as directory:
        ...     directory.is_dir()
        True
        >>> directory.exists()
        False
    """

    def __init__(self, prefix: str, place: str | None = None) -> None:
        import tempfile  # it brings much with it

        try:
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        except OSError as error:
            if error.filename is not None:
                raise storage_error(error, error.filename) from error
            raise StorageError(
                "no directory for temporary files can be written to",
                hint="set TMPDIR to one",
                errno=error.errno,
            ) from error
        self.remove = weakref.finalize(self, _remove, self.path, os.getpid())

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


def _remove(directory: Path, process: int) -> None:
    if os.getpid() != process:
        return
    import shutil

    # In a directory that its owner can't write to, nothing can be deleted.
    for place, names, _ in os.walk(directory):
        for path in (place, *(os.path.join(place, name) for name in names)):
            with suppress(OSError):
                if not os.path.islink(path):
                    os.chmod(path, stat.S_IRWXU)
    shutil.rmtree(directory, ignore_errors=True)
