"""Ignored paths of a worktree: `.amaignore` files, with gitignore's rules.

The last matching line decides; a nested file takes precedence over the files above it; and no rule
brings back anything below an ignored directory. pathspec decides which names a pattern such as
`*.ckpt` matches. What follows is decided here, because in pathspec a pattern that matches a
directory also decides about each file below it.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ama.errors import StorageError
from ama.format.names import is_control_directory, is_git_directory
from ama.system import disk, fs
from ama.system.encoding import to_system

IGNORE_FILE = ".amaignore"

never_meant = re.compile(
    r"\.DS_Store|Thumbs\.db|desktop\.ini|.*\.py[co]|.*~|\..*\.sw[op]"
    r"|(?P<directory>__pycache__|\.ipynb_checkpoints)",
    re.DOTALL,
).fullmatch
"""Matches names that systems, editors and Python leave in directories: never a result."""

_STAR = "[^/]*"
"""pathspec's regex for a star."""

_Glob = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Rule:
    """One line: `globs` has one for each part of a path, None for `**`."""

    brings_back: bool
    only_directories: bool
    any_depth: bool
    globs: tuple[_Glob | None, ...]

    def fits(self, parts: list[str], is_dir: bool) -> bool:
        if self.only_directories and not is_dir:
            return False
        if self.any_depth:
            glob = self.globs[0]
            return glob is None or glob(parts[-1])
        return _fits(self.globs, parts)


@dataclass(frozen=True, slots=True)
class _Directory:
    """The rule sets for the content of a directory, the nearest first.

    With each set comes the number of parts in the path of its file.
    """

    ignored: bool
    rule_sets: tuple[tuple[int, tuple[_Rule, ...]], ...]


class Ignore:
    """The ignore rules below a root. Ignore files are read when they are needed.

    Example:
        >>> from ama.system.fs import write_replace
        >>> write_replace(".amaignore", b"*.tmp")
        >>> ignore = Ignore.load(Path("."))
        >>> ignore.ignores("run/a.tmp", False), ignore.ignores("run/a.h5", False)
        (True, False)
    """

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._directories = {"": _Directory(False, self._read_rules("", ()))}

    @classmethod
    def load(cls, root: Path) -> Ignore:
        """Read the rules of a worktree.

        Args:
            root: The worktree's top directory.

        Raises:
            StorageError: Its ignore file can't be read.
        """
        return cls(root)

    def has_rules(self, directory: str) -> bool:
        """Whether any rule, in it or above, may exclude something from a directory.

        Args:
            directory: The path, POSIX, relative to the root; "" for the root.

        Raises:
            StorageError: An ignore file on the way can't be read.
        """
        found = self._directories.get(directory) or self._visit(directory)
        return found.ignored or bool(found.rule_sets)

    def ignores(self, relpath: str, is_dir: bool) -> bool:
        """Whether a path is ignored, itself or by a directory above it.

        Args:
            relpath: The path, POSIX, relative to the root.
            is_dir: Whether it is a directory; a symlink to one is not.

        Returns:
            True also for `.ama` and `.git`, in any case, and for ama's temporary files: no rule
            brings them back. True for `never_meant`, unless a rule brings it back.

        Raises:
            StorageError: An ignore file on the way can't be read.
        """
        above, _, name = relpath.rpartition("/")
        if name[:1] == "." and (
            fs.is_temp(name) or is_control_directory(name) or is_git_directory(name)
        ):
            return True
        directory = self._directories.get(above) or self._visit(above)
        if directory.ignored:
            return True
        decided = _decide(directory.rule_sets, relpath, is_dir) if directory.rule_sets else None
        if decided is None:
            litter = never_meant(name)
            return litter is not None and is_dir == (litter["directory"] is not None)
        return decided

    def _visit(self, relpath: str) -> _Directory:
        parent = relpath.rpartition("/")[0]
        above = self._directories.get(parent) or self._visit(parent)
        if above.ignored or self.ignores(relpath, True):
            found = _Directory(True, ())
        else:
            found = _Directory(False, self._read_rules(relpath, above.rule_sets))
        self._directories[relpath] = found
        return found

    def _read_rules(
        self, relpath: str, above: tuple[tuple[int, tuple[_Rule, ...]], ...]
    ) -> tuple[tuple[int, tuple[_Rule, ...]], ...]:
        path = os.path.join(self._root, *to_system(relpath).split("/"), IGNORE_FILE)
        try:
            data = disk.read_file(path)
        except StorageError:
            if os.path.isdir(path):
                return above
            raise
        if not data:
            return above
        text = data.decode("utf-8-sig", errors="surrogateescape")
        rules = [rule for line in text.split("\n") if (rule := _parse(line)) is not None]
        depth = relpath.count("/") + 1 if relpath else 0
        return ((depth, tuple(reversed(rules))), *above) if rules else above


def matching(pattern: str) -> Callable[[str], bool]:
    """Return a test whether a path, or a directory above it, matches a glob from the root.

    Args:
        pattern: POSIX; `*` stays within a name, `**` crosses directories.

    Example:
        >>> fits = matching("run/mod*")
        >>> fits("run/model.h5"), fits("run/models/a"), fits("model.h5")
        (True, True, False)
    """
    globs = tuple(None if part == "**" else _glob(part) for part in pattern.split("/"))

    def fits(path: str) -> bool:
        parts = path.split("/")
        return any(_fits(globs, parts[: depth + 1]) for depth in range(len(parts)))

    return fits


def _decide(
    rule_sets: tuple[tuple[int, tuple[_Rule, ...]], ...], relpath: str, is_dir: bool
) -> bool | None:
    """Return whether a path is ignored; None if no rule matches it."""
    parts = relpath.split("/")
    for depth, rules in rule_sets:
        below = parts[depth:]
        for rule in rules:
            if rule.fits(below, is_dir):
                return not rule.brings_back
    return None


def _parse(line: str) -> _Rule | None:
    line = _without_trailing_spaces(line.removesuffix("\r"))
    if not line or line.startswith("#"):
        return None
    brings_back = line.startswith("!")
    pattern = line[1:] if brings_back else line
    only_directories = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    any_depth = "/" not in pattern
    segments = pattern.removeprefix("/").split("/")
    if segments == [""]:
        return None
    globs = tuple(None if segment == "**" else _glob(segment) for segment in segments)
    return _Rule(brings_back, only_directories, any_depth, globs)


def _without_trailing_spaces(line: str) -> str:
    bare = line.rstrip(" ")
    backslashes = len(bare) - len(bare.rstrip("\\"))
    return bare + " " if backslashes % 2 and bare != line else bare


def _glob(segment: str) -> _Glob:
    if not any(c in segment for c in "*?[\\"):
        return segment.__eq__
    from pathspec import GitIgnoreSpec

    # A slash before it makes `!` and `#` ordinary; a backslash keeps a space at the end.
    if segment.endswith(" ") and not segment.endswith("\\ "):
        segment = segment[:-1] + "\\ "
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # `[[` in a pattern
            patterns = list(GitIgnoreSpec.from_lines(["/" + segment]).patterns)
    except (ValueError, re.error):
        return _never  # git, too, lets a broken pattern match nothing
    regex = patterns[0].regex if len(patterns) == 1 else None
    if regex is None:
        return _never
    fits = re.compile(_without_going_back(regex.pattern)).match
    return lambda name: fits(name) is not None


def _without_going_back(regex: str) -> str:
    """Return pathspec's regex of a name with each star but the last lazy and atomic.

    The text between two stars has one length, so its first match is as good as any later one.
    Backtracking over all stars would take for ever with a pattern of a few dozen characters.
    """
    first, *between = regex.split(_STAR)
    if len(between) < 2:
        return regex
    return first + "".join(f"(?>{_STAR}?{part})" for part in between[:-1]) + _STAR + between[-1]


def _never(name: str) -> bool:
    return False


def _fits(globs: tuple[_Glob | None, ...], parts: list[str]) -> bool:
    """Whether each part matches its glob, where None stands for any number of parts.

    At a later None, the choice for the one before it is final.
    """
    number = at = 0
    back: tuple[int, int] | None = None
    while at < len(parts):
        glob = globs[number] if number < len(globs) else _never
        if glob is None:
            number += 1
            if number == len(globs):
                return True  # at the end it stands for all remaining parts
            back = number, at
        elif glob(parts[at]):
            number, at = number + 1, at + 1
        elif back is not None:
            number, at = back[0], back[1] + 1
            back = number, at
        else:
            return False
    return number == len(globs)


MOST_SEARCHED = 64 * 1024
"""The largest file to search, in bytes: keys are kept in small ones."""

_NAMES = {
    ".env": "an environment file",
    ".git-credentials": "git's passwords",
    ".netrc": "passwords",
    "_netrc": "passwords",
    ".pgpass": "passwords",
    ".pypirc": "passwords",
    "credentials.json": "credentials",
    "id_dsa": "a private key",
    "id_ecdsa": "a private key",
    "id_ed25519": "a private key",
    "id_rsa": "a private key",
}
_PLACES = {(".aws", "credentials"): "credentials", (".kube", "config"): "credentials"}
_TEMPLATES = (".example", ".sample", ".template", ".dist")

_LABEL = re.compile(rb"-----BEGIN ([^-\n]{1,64})-----").findall
_PUBLIC = re.compile(
    rb"(TRUSTED |X509 )?(CERTIFICATE( REQUEST)?|CRL)|NEW CERTIFICATE REQUEST"
    rb"|([A-Z0-9]+ )?(PUBLIC KEY|PARAMETERS)"
).fullmatch

_PRIVATE_KEY = re.compile(
    rb"-----BEGIN ([A-Z0-9]+ ){0,3}PRIVATE KEY( BLOCK)?-----(\\r|\\n|\s)+"
    rb"([A-Za-z-]{1,40}: [^\n]{0,200}\n\s*){0,5}[A-Za-z0-9+/=]{16}"
).search
_KEY_TO_ITS_END = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,60}PRIVATE KEY.*", re.DOTALL)
_AWS_ID = re.compile(rb"(?<![A-Za-z0-9])A[KS]IA[A-Z2-7]{16}(?![A-Za-z0-9])")
_AWS_SECRET = re.compile(
    rb"(?<![A-Za-z0-9/+])(?![0-9a-f]{40}|[0-9A-F]{40})[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])"
)
# Search for characters that each kind has first, then for its start: both are faster than
# expressions. Files of numbers have few letters.
_FORMS = {
    b"A": (
        (b"AIza", rb"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])", "a key of Google's"),
        (b"AccountKey=", rb"AccountKey=[A-Za-z0-9+/]{86}==", "a key of Azure's"),
    ),
    b"_h": (
        (b"ghp_", rb"ghp_[A-Za-z0-9]{36}(?![A-Za-z0-9])", "a token of GitHub's"),
        (b"github_pat_", rb"github_pat_[A-Za-z0-9_]{60}", "a token of GitHub's"),
        (b"hf_", rb"hf_[A-Za-z0-9]{34}(?![A-Za-z0-9])", "a token of Hugging Face's"),
    ),
    b"-x": ((b"xox", rb"xox[abeprs]-[0-9]{8,16}-[A-Za-z0-9-]{16}", "a token of Slack's"),),
}
_SEARCHES = tuple(
    (frozenset(signs), start, re.compile(rb"(?<![A-Za-z0-9_])" + form), what)
    for signs, forms in _FORMS.items()
    for start, form, what in forms
)
_A = ord("A")
_SIGNS_OF_PRIVATE_KEY = frozenset(b"-P")
_SIGNS = tuple(frozenset(b"".join(_FORMS)) | _SIGNS_OF_PRIVATE_KEY)


def secret_names(paths: Iterable[str]) -> dict[str, str]:
    """Return the paths whose names look like secrets, each with its kind of secret.

    Example:
        >>> secret_names(["run/.env", ".env.example", "model.h5"])
        {'run/.env': 'an environment file'}
    """
    return {path: what for path in paths if (what := _named_so(path)) is not None}


def _named_so(path: str) -> str | None:
    above, _, name = path.lower().rpartition("/")
    if name.startswith(".env.") and not name.endswith(_TEMPLATES):
        return _NAMES[".env"]
    return _NAMES.get(name) or _PLACES.get((above.rpartition("/")[2], name))


def secret_within(path: str, data: bytes) -> str | None:
    """Return the kind of secret in a small file, or None.

    Args:
        path: The file's path.
        data: The whole content.

    Example:
        >>> secret_within("ca.pem", b"-----BEGIN CERTIFICATE-----")
        >>> secret_within("server.pem", b"no certificate")
        'no certificate or public key alone'
    """
    if path.lower().endswith(".pem"):
        labels = _LABEL(data)
        if not labels or not all(map(_PUBLIC, labels)):
            return "no certificate or public key alone"
    if len(data) > MOST_SEARCHED or b"\0" in data:
        return None
    found = {sign for sign in _SIGNS if sign in data}
    if found >= _SIGNS_OF_PRIVATE_KEY and b"PRIVATE KEY" in data and _PRIVATE_KEY(data):
        return "a private key"
    if _A in found and (b"AKIA" in data or b"ASIA" in data):
        if _AWS_ID.search(data) and _AWS_SECRET.search(data):
            return "a key of AWS's"
    for signs, start, form, what in _SEARCHES:
        if found >= signs and start in data and form.search(data):
            return what
    return None


def without_keys(text: str) -> str:
    """Return a text with `***` in the place of keys and tokens that `secret_within` finds.

    Example:
        >>> without_keys("login AKIAABCDEFGHIJKLMNOP")
        'login ***'
    """
    data = text.encode("utf-8", "surrogatepass")
    data = _KEY_TO_ITS_END.sub(b"***", data)
    if _AWS_ID.search(data):
        data = _AWS_SECRET.sub(b"***", _AWS_ID.sub(b"***", data))
    for _, start, form, _ in _SEARCHES:
        if start in data:
            data = form.sub(b"***", data)
    return data.decode("utf-8", "surrogatepass")
