"""A process of its own for HDF5 files, with limits: the library is large and written in C, and a
hostile file must not let it end our process or fill the memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ama.contents.tensors import Tensor
from ama.errors import FormatError, shown, storage_error
from ama.system import disk, fs
from ama.system.scratch import Scratch

TIME_S = 60.0
"""The seconds that a file may take, plus one for each `BYTES_PER_S` of it."""

BYTES_PER_S = 20_000_000
MEMORY = 8 * 1024**3
"""The child's address space, in bytes. It uses little of it; numpy's threads reserve the rest."""

OLD, NEW, ANSWER = "old.h5", "new.h5", "answer.json"
"""The files in the child's directory: its input and its output."""

_CHILD = """
import sys
directory, memory = sys.argv[1:3]
sys.path[:] = sys.argv[3:]
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except (ImportError, ValueError, OSError):
    pass
from ama.contents.hdf5 import answer
answer(directory)
"""

Values = tuple[int | None, float | None] | None
"""How many values differ, and by how much at most where that has a meaning; None: unknown."""


@dataclass(frozen=True, slots=True)
class Found:
    """The tensors of one or two files, and for those in both how their values differ, if they
    do.
    """

    old: tuple[Tensor, ...]
    new: tuple[Tensor, ...]
    values: dict[str, Values]


def read_hdf5(old: Iterable[bytes] | None, new: Iterable[bytes] | None) -> Found:
    """List the tensors of one or two HDF5 files, and compare the values of those in both.

    Args:
        old: A file's bytes, which go to a temporary file first; None: no file.
        new: The other file's bytes; None: no file.

    Raises:
        FormatError: A file is broken or exceeds the limits, or h5py is not installed.
        StorageError: A temporary file could not be written.
    """
    if find_spec("h5py") is None:
        raise FormatError(
            "an HDF5 file that can't be read: h5py is not installed", hint="pip install h5py"
        )
    with Scratch("ama-") as place:
        for pieces, path in ((old, place / OLD), (new, place / NEW)):
            if pieces is not None:
                fs.write_private(path, pieces)
        said = _asked(place, TIME_S + _size(place) / BYTES_PER_S)
    if "error" in said:
        raise _unread(shown(said["error"]))
    return Found(_tensors(said["old"]), _tensors(said["new"]), _values(said["values"]))


def _size(place: Path) -> int:
    try:
        return sum(path.stat().st_size for path in place.iterdir())
    except OSError as error:
        raise storage_error(error, place, doing="read") from error


def _asked(place: Path, seconds: float) -> dict[str, object]:
    command = [sys.executable, "-P", "-c", _CHILD, str(place), str(MEMORY), *filter(None, sys.path)]
    quiet = subprocess.DEVNULL
    try:
        ended = subprocess.run(
            command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=seconds, check=False
        )
    except OSError as error:
        raise storage_error(error, sys.executable, doing="read") from error
    except subprocess.TimeoutExpired:
        raise _unread(f"it takes more than {seconds:,.0f} seconds") from None
    answer = disk.read_file(place / ANSWER)
    if ended.returncode or answer is None:
        raise _unread("the library that reads it gave up")
    said: dict[str, object] = json.loads(answer)
    return said


def _tensors(rows: object) -> tuple[Tensor, ...]:
    assert isinstance(rows, list)
    return tuple(
        Tensor(name, dtype, None if shape is None else tuple(shape)) for name, dtype, shape in rows
    )


def _values(said: object) -> dict[str, Values]:
    assert isinstance(said, dict)
    return {name: None if found is None else (found[0], found[1]) for name, found in said.items()}


def _unread(why: str) -> FormatError:
    return FormatError(f"an HDF5 file that can't be read: {why}")
