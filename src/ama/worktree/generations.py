r"""A small file that several processes change at once without a lock: HEAD and the index.

The file `index` is really `index.1`, `index.2` and so on, each written once; the highest number
is the truth. A change creates the next number, which only one process can do: the others notice
it, read again, and try again. A crash would leave a lock behind, and locks on network file systems
are not reliable (design, invariant 9).

A file has: "ama NAME 1\n", its number (u64), how many nonces follow (u8), its own nonce and
earlier ones (8 bytes each, the newest first), the payload, and a seal of 32 bytes over all of that.
Numbers are big-endian.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ama.errors import Conflict, FormatError, IntegrityError, shown, storage_error
from ama.format.hashing import seal
from ama.system import disk, fs

_KEPT = 2
_TRIES = 100
_NONCE_SIZE = 8
# Enough that no writer falls so far behind between its write and its check of what followed.
_MOST_NONCES = 64
_SEAL_SIZE = 32


class Generations:
    """A file that only a process that has read it can replace.

    Args:
        directory: The directory of its files; it must exist before a write.
        name: The file's name, without a number.

    Example:
        >>> from ama.system.fs import make_directories
        >>> make_directories("state")
        >>> head = Generations(Path("state"), "HEAD")
        >>> head.read() is None
        True
        >>> head.write(0, b"first")
        1
        >>> head.update(lambda old: (old or b"") + b", second")
        b'first, second'
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = os.fspath(directory)
        self._name = name
        self._magic = b"ama " + name.encode() + b" "

    def read(self) -> tuple[int, bytes] | None:
        """Return the newest generation's number and payload; None if there is none.

        Raises:
            IntegrityError: It is damaged.
            FormatError: A newer version of ama has written it.
            StorageError: It can't be read.
        """
        for _ in range(_TRIES):
            generation = self._newest()
            if not generation:
                return None
            data = disk.read_file(self._path(generation))
            if data is not None:  # else it has been replaced by two newer ones meanwhile
                return generation, self._payload(generation, data)
        raise self._conflict()

    def generation(self) -> int:
        """Return the newest generation's number; 0 if there is none."""
        return self._newest()

    def write(self, expected: int, payload: bytes) -> int:
        """Replace the content, unless another process has.

        Args:
            expected: The generation that the new content builds on; 0 if there is none.
            payload: The new content.

        Returns:
            The new generation's number. It is durable.

        Raises:
            Conflict: Another process has written since `expected`; its content stands.
            StorageError: The disk refused; nothing has changed.
        """
        if self._newest() != expected:
            raise self._conflict()
        history = self._nonces(expected) if expected else []
        if history is None:
            raise self._conflict()
        nonce = os.urandom(_NONCE_SIZE)
        generation = expected + 1
        body = self._header(generation, [nonce, *history[: _MOST_NONCES - 1]]) + payload
        path = self._path(generation)
        try:
            fs.write_new(path, (body, seal(body)))
        except FileExistsError:
            raise self._conflict() from None
        if not self._stands(generation, nonce):
            fs.remove(path)
            raise self._conflict()
        return generation

    def update(self, change: Callable[[bytes | None], bytes]) -> bytes:
        """Change the content; a simultaneous change by another process is kept too.

        Args:
            change: A function that makes the new content from the old one (None: there is none). It
                is called again with newer content after a lost race, so it must have no other
                effects. If it returns the old content itself, nothing is written.

        Returns:
            The new content.

        Raises:
            Conflict: Others won a hundred races.
            IntegrityError: The present content is damaged.
            StorageError: The disk refused; nothing has changed.
        """
        for attempt in range(_TRIES):
            current = self.read()
            generation, old = current or (0, None)
            new = change(old)
            if new is old:
                return new
            with suppress(Conflict):
                self.write(generation, new)
                return new
            import random  # slow to import, and hardly ever needed

            time.sleep(random.uniform(0, min(0.002 * (attempt + 1), 0.1)))
        raise self._conflict()

    def stat(self, generation: int | None = None) -> os.stat_result | None:
        """Return the stat data of a generation's file; None if there is none.

        Args:
            generation: Which; None for the newest. Its `st_mtime_ns` is when it was written.
        """
        for _ in range(_TRIES if generation is None else 1):
            path = self._path(generation or self._newest())
            try:
                return os.stat(path)
            except FileNotFoundError:  # replaced by two newer ones meanwhile, or never written
                if not self._newest():
                    break
            except OSError as error:
                raise storage_error(error, path, doing="read") from error
        return None

    def _path(self, generation: int) -> str:
        return os.path.join(self._directory, f"{self._name}.{generation}")

    def _present(self) -> list[int]:
        begin = self._name + "."
        names = disk.list_directory(self._directory)
        digits = (name[len(begin) :] for name in names if name.startswith(begin))
        return sorted(int(d) for d in digits if d.isdecimal() and d.isascii() and d[0] != "0")

    def _newest(self) -> int:
        # A listing isn't a snapshot: between its parts all that it would have shown may have
        # been replaced. So nothing is believed absent at the first look.
        for _ in range(2):
            if present := self._present():
                return present[-1]
        return 0

    def _stands(self, generation: int, nonce: bytes) -> bool:
        """Whether the generation just written counts; if so, remove those that are too old.

        A slow writer may get a number that was used before, and removed as too old. Then there are
        higher ones, without its nonce in their history.
        """
        for _ in range(_TRIES):
            present = self._present()
            newest = max(present, default=0)
            history = [nonce] if newest == generation else self._nonces(newest)
            if newest < generation or history is None:
                continue  # the listing was made while others wrote
            if history[newest - generation :][:1] != [nonce]:
                return False
            for old in present:
                if old <= newest - _KEPT:
                    fs.remove(self._path(old))
            return True
        return False

    def _header(self, generation: int, nonces: list[bytes]) -> bytes:
        number = generation.to_bytes(8, "big")
        return b"".join((self._magic, b"1\n", number, bytes([len(nonces)]), *nonces))

    def _nonces(self, generation: int) -> list[bytes] | None:
        """Return the nonces in a generation's header; None if it has been removed."""
        start = len(self._magic) + 2 + 8
        header = disk.read_file(self._path(generation), start + 1 + _MOST_NONCES * _NONCE_SIZE)
        if header is None:
            return None
        return self._split_nonces(generation, header)[0]

    def _split_nonces(self, generation: int, data: bytes) -> tuple[list[bytes], int]:
        number = len(self._magic) + 2
        if data[:number] != self._magic + b"1\n":
            version, end, _ = data.removeprefix(self._magic)[:20].partition(b"\n")
            if data.startswith(self._magic) and end and version.isdigit() and int(version) > 1:
                raise FormatError(
                    f"{shown(Path(self._path(generation)))} was written by a newer version of ama",
                    hint="update ama",
                )
            raise self._damaged(generation, f"it isn't ama's {self._name} file")
        nonces = number + 9
        count = data[nonces - 1] if len(data) >= nonces else 0
        payload = nonces + count * _NONCE_SIZE
        if not 0 < count <= _MOST_NONCES or len(data) < payload:
            raise self._damaged(generation, "it has been cut off")
        if int.from_bytes(data[number : nonces - 1], "big") != generation:
            raise self._damaged(generation, "it is another generation's")
        return [data[i : i + _NONCE_SIZE] for i in range(nonces, payload, _NONCE_SIZE)], payload

    def _payload(self, generation: int, data: bytes) -> bytes:
        start = self._split_nonces(generation, data)[1]
        view = memoryview(data)
        if len(data) < start + _SEAL_SIZE or seal(view[:-_SEAL_SIZE]) != view[-_SEAL_SIZE:]:
            raise self._damaged(generation, "its checksum is wrong")
        return data[start:-_SEAL_SIZE]

    def _damaged(self, generation: int, how: str) -> IntegrityError:
        path = shown(Path(self._path(generation)))
        if generation - 1 in self._present():
            hint = f"delete {path} to go back to how it was before the last change to it"
        else:
            hint = f"delete {path} to begin without: what it held is lost"
        return IntegrityError(f"{path} is damaged: {how}", hint=hint)

    def _conflict(self) -> Conflict:
        return Conflict(
            f"{shown(Path(self._directory, self._name))} was changed by somebody else",
            hint="run the same command again",
        )
