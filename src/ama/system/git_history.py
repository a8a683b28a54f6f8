"""The history of a git repository: its commits, and the files in each.

Ama runs only git's plumbing, as `ama.system.git` does: nothing that the repository configures runs,
nothing is fetched and nothing is written.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ama.errors import InvalidInput, StorageError, shown
from ama.system.encoding import from_system, to_system
from ama.system.git import OPTIONS, environment, public_url

_EPOCH = datetime.fromtimestamp(0, UTC)
_FILE_MODES = {b"100644", b"100755"}
_SIGNED = re.compile(rb"(.*) (\d+) [-+]\d{4}").fullmatch
_MOST = 64 * 1024 * 1024
"""The most bytes of a file that is read."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit.

    Attributes:
        id: Its id.
        parents: The ids of its parents.
        author: Its author, with the address.
        written: When it was written, in UTC.
        committed: When it was committed, in UTC.
        message: Its message.
    """

    id: str
    parents: tuple[str, ...]
    author: str
    written: datetime
    committed: datetime
    message: str


class GitHistory:
    """The history of the repository around a directory.

    Args:
        directory: The directory.
        environ: The environment for git.

    Attributes:
        root: The repository's directory.

    Raises:
        InvalidInput: There is no repository, or no git to read it with.
    """

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self._environ = environment(environ)
        self._directory = directory
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._commits: dict[str, Commit] = {}
        top = self._ask("rev-parse", "--show-toplevel").rstrip(b"\n")
        self.root = Path(os.fsdecode(top))
        self._directory = self.root

    def url(self) -> str:
        """Return the URL of origin without credentials; else the repository's directory."""
        with suppress(InvalidInput):  # there is none
            url = self._ask("config", "--get", "remote.origin.url").decode("utf-8", "replace")
            if found := public_url(url.strip()):
                return found
        return from_system(str(self.root))

    def commits(self, *patterns: str) -> list[tuple[str, tuple[str, ...]]]:
        """Return the commits of all branches and tags that changed some paths, the oldest first.

        Each has with it the commits before it that did so.
        """
        globs = [f":(top,glob){pattern}" for pattern in patterns]
        words = (
            "--parents",
            "--topo-order",
            "--reverse",
            "--full-history",
            "--branches",
            "--tags",
            "HEAD",
        )
        lines = self._ask("rev-list", *words, "--", *globs).decode("ascii").splitlines()
        return [(own, tuple(before)) for own, *before in map(str.split, lines)]

    def heads(self) -> dict[str, str]:
        """Return the commits that branches and tags of this repository are on."""
        form = "--format=%(objectname) %(*objectname) %(refname)"
        found = {}
        for line in self._ask("for-each-ref", form, "refs/heads", "refs/tags").splitlines():
            own, peeled, name = line.split(b" ", 2)
            short = name.decode("utf-8", "replace").split("/", 2)[2]
            found[short] = (peeled or own).decode("ascii")
        return found

    def files(self, commit: str) -> dict[str, str]:
        """Return the ids of the regular files in a commit, by their paths."""
        found = {}
        for line in self._ask("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0"):
            head, _, path = line.partition(b"\t")
            mode, _, name = head.partition(b" blob ")
            if mode in _FILE_MODES:
                found[path.decode("utf-8", "surrogateescape")] = name.decode("ascii")
        return found

    def commit(self, commit: str) -> Commit:
        """Return a commit."""
        if commit not in self._commits:
            self._commits[commit] = _commit(commit, self.read(commit))
        return self._commits[commit]

    def read(self, object_id: str) -> bytes:
        """Return the content of an object.

        Raises:
            StorageError: It is not there, or too large.
        """
        with self._lock:
            process = self._reader()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(object_id.encode("ascii") + b"\n")
                process.stdin.flush()
                head = process.stdout.readline().split()
                if len(head) != 3:
                    raise StorageError(f"git has no object {shown(object_id)}")
                size = int(head[2])
                if size > _MOST:
                    self._process = None
                    process.kill()
                    raise StorageError(f"git's object {shown(object_id)} is too large")
                data = process.stdout.read(size + 1)
            except (OSError, ValueError) as error:
                raise StorageError(f"git can't be asked: {error}") from error
        if len(data) != size + 1:
            raise StorageError(f"git ended while it gave {shown(object_id)}")
        return data[:-1]

    def _reader(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                ["git", *OPTIONS, "cat-file", "--batch"],
                cwd=self._directory,
                env=self._environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            weakref.finalize(self, _end, self._process)
        return self._process

    def _ask(self, *words: str) -> bytes:
        try:
            done = subprocess.run(
                ["git", *OPTIONS, *map(to_system, words)],
                cwd=self._directory,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        except FileNotFoundError as error:
            raise InvalidInput("git is needed to read a history", hint="install git") from error
        except (OSError, ValueError) as error:
            raise StorageError(f"git can't be asked: {error}") from error
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
            raise InvalidInput(f"{shown(str(self._directory))}: {shown(said[:500])}")
        return done.stdout


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a reader, which ends by itself once nobody asks any more."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    process.wait()


def _commit(name: str, data: bytes) -> Commit:
    head, _, message = data.partition(b"\n\n")
    encoding = "utf-8"
    parents: list[str] = []
    people = {b"author": (b"", _EPOCH), b"committer": (b"", _EPOCH)}
    for line in head.split(b"\n"):
        key, _, value = line.partition(b" ")
        if key == b"parent":
            parents.append(value.decode("ascii", "replace"))
        elif key == b"encoding":
            encoding = value.decode("ascii", "replace")
        elif key in people and (signed := _SIGNED(value)):
            people[key] = (signed[1], _moment(int(signed[2])))
    author, written = people[b"author"]
    return Commit(
        name,
        tuple(parents),
        _text(author, encoding).strip(),
        written,
        people[b"committer"][1],
        _text(message, encoding).strip(),
    )


def _moment(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return _EPOCH


def _text(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding, "replace")
    except LookupError:
        return data.decode("utf-8", "replace")
