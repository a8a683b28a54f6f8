"""The git repository around a directory: its commit, branch and URL.

Ama runs only the program `git`, which may fail in any way: then less is known. A repository may
come from anybody's asset, so nothing that its configuration names runs, and nothing is fetched.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ama.system.encoding import to_system

SECONDS = 2.0
"""How long to wait for git, in total: a huge repository must not hold up an upload."""

MOST = 1000
"""The longest branch or URL; ama drops longer texts."""

# The environment may tell git how to find a repository. Remove what names one: it would be
# another, for instance that of the hook which runs us.
_KEPT = re.compile("GIT_(CONFIG_.*|CEILING_DIRECTORIES|DISCOVERY_ACROSS_FILESYSTEM)").fullmatch
_DEFUSED = {
    "GIT_OPTIONAL_LOCKS": "0",  # don't write the repository's index
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",  # for a git that doesn't know the line above
    "LC_ALL": "C",
}
OPTIONS = ("--no-pager", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
"""The options with which git is always run."""

_FILTER = re.compile(r"filter\.(.*)\.(clean|smudge|process|required)", re.DOTALL).fullmatch
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://").match
_HOST = re.compile(r"([^:?#]*|\[[0-9A-Fa-f:.]*\])(:[0-9]*)?").fullmatch
_USER = re.compile(r"(^//|:)[^/]*@").search  # a URL with a missing slash, and so a path
_NAMED = re.compile(rb"repository at '([^'\n]+)'").search
_REST = re.compile("[?#;]")
TOKEN = r"(gh[pousr]_|github_pat_|glpat-|hf_|xox[a-z]-|sk-)[A-Za-z0-9_-]{16,}|A[KS]IA[0-9A-Z]{16}"
"""The pattern of tokens that say of what they are."""

_TOKEN = re.compile(TOKEN).search

# A token of any kind, or something as unmemorable: a run of 20 letters and digits that alternates
# between the two. Names that people choose don't.
_STRETCH = re.compile("[A-Za-z0-9]{20,}").findall
_CHANGES = re.compile("[A-Za-z](?=[0-9])|[0-9](?=[A-Za-z])").findall
_MOST_CHANGES = 3


Missing = Literal["no_repository", "no_git", "not_owned", "no_commit", "no_answer"]


@dataclass(frozen=True, slots=True)
class Code:
    """The code that made an asset.

    Attributes:
        facts: The facts known of it, as metadata.
        missing: Why no commit is known: "no_repository", "no_git", "not_owned" (another user's,
            so git won't read it), "no_commit", or "no_answer"; None if one is known, or none is
            asked for.
        directory: Where git looked for it, or the repository that git won't read.
    """

    facts: Mapping[str, str | bool] = field(default_factory=dict)
    missing: Missing | None = None
    directory: Path | None = None


def look(directory: Path, environ: Mapping[str, str], seconds: float = SECONDS) -> Code:
    """Return the code in a directory, and if its commit isn't known, why.

    Args:
        directory: The directory to look in.
        environ: The environment for git.
        seconds: How long to wait for git.

    Example:
        >>> look(Path("/"), {}).facts
        {}
    """
    git = _Git(directory, environ, time.monotonic() + seconds)
    facts = _describe(git)
    if "git.commit" in facts:
        return Code(facts, None, directory)
    missing: Missing = "no_commit" if facts else "no_answer"
    return Code(facts, git.refused or missing, git.place or directory)


def describe(
    directory: Path, environ: Mapping[str, str], seconds: float = SECONDS
) -> dict[str, str | bool]:
    """Return the commit of the repository around a directory, as metadata.

    Args:
        directory: The directory to look in.
        environ: The environment for git.
        seconds: How long to wait for git.

    Returns:
        `git.repository` (the URL of its origin without credentials, else its directory's name),
        `git.commit`, `git.branch`, and `git.dirty`: whether a tracked file has changes. Unknown
        facts are left out; without a repository or git, all of them.

    Example:
        >>> describe(Path("/"), {})
        {}
    """
    return dict(look(directory, environ, seconds).facts)


def _describe(git: _Git) -> dict[str, str | bool]:
    found = git.ask("rev-parse", "--show-toplevel")
    if found is None:
        return {}
    known: dict[str, str | bool] = {}
    origin, filters = _configured(git)
    known["git.repository"] = public_url(origin) or os.path.basename(found.rstrip("\n")) or "/"
    if commit := git.ask("rev-parse", "--verify", "--quiet", "HEAD"):
        known["git.commit"] = commit.strip()
    if branch := git.ask("symbolic-ref", "--quiet", "--short", "HEAD"):
        known["git.branch"] = branch.strip()
    if filters is not None:
        options = [word for name in filters for word in _without_filter(name)]
        words = ("--porcelain", "-z", "--untracked-files=no", "--ignore-submodules=dirty")
        changed = git.ask(*options, "status", *words)
        known |= {} if changed is None else {"git.dirty": bool(changed)}
    return {key: v for key, v in known.items() if isinstance(v, bool) or 0 < len(v) <= MOST}


def public_url(url: str) -> str | None:
    """Return a repository's URL without user, password, token, query and fragment.

    Returns:
        None where it may hold credentials.

    Example:
        >>> public_url("https://ann:secret@example.org/team/code.git?token=x")
        'https://example.org/team/code.git'
        >>> public_url("git@example.org:team/code.git")
        'example.org:team/code.git'
    """
    url = url.strip()
    if not url or not url.isprintable() or "::" in url.partition("//")[0] or _TOKEN(url):
        return None
    scheme = _SCHEME(url)
    if scheme is not None:
        place, slash, rest = url[scheme.end() :].partition("/")
        host = place.rpartition("@")[2]
        # Before a further @, text that is no host and port may be the rest of a password.
        public = _REST.split(rest)[0]
        if "@" in rest or not _HOST(host) or _may_be_secret(public):
            return None
        return f"{scheme[0]}{host}{slash}{public}"
    place, colon, path = url.partition(":")
    if not colon or "/" in place or "\\" in path:
        return None if _USER(url) else url  # a path on this machine
    public = _REST.split(path)[0]
    if "@" in path or _may_be_secret(public):
        return None
    return f"{place.rpartition('@')[2]}:{public}"


def _may_be_secret(path: str) -> bool:
    return any(len(_CHANGES(stretch)) > _MOST_CHANGES for stretch in _STRETCH(path))


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for git, in which it reads the repository at hand and runs nothing."""
    kept = {k: v for k, v in environ.items() if not k.startswith("GIT_") or _KEPT(k)}
    return {**kept, **_DEFUSED}


class _Git:
    """A run of `git` in a directory, until a moment of the monotonic clock."""

    def __init__(self, directory: Path, environ: Mapping[str, str], until: float) -> None:
        self._directory = directory
        self._environ = environment(environ)
        self._until = until
        self.refused: Missing | None = None
        """Why git refused to describe the repository, if it said why."""
        self.place: Path | None = None
        """The repository that git refused to read."""

    def ask(self, *words: str) -> str | None:
        """Return what git prints; None where it fails, or takes too long."""
        import subprocess
        import tempfile

        # Note it here: a quick program has ended by itself before the first wait.
        left = self._until - time.monotonic()
        if left <= 0:
            return None
        # No pipe: a child of git may hold it open after git is killed.
        try:
            with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as error:
                done = subprocess.run(
                    ["git", *OPTIONS, *map(to_system, words)],
                    cwd=self._directory,
                    env=self._environ,
                    stdin=subprocess.DEVNULL,
                    stdout=answer,
                    stderr=error,
                    timeout=left,
                    check=False,
                )
                if done.returncode:
                    error.seek(0)
                    self._note_refusal(error.read(10_000))
                    return None
                answer.seek(0)
                return answer.read().decode("utf-8", errors="replace")
        except FileNotFoundError as error:
            # Else the directory is missing, or there is none for temporary files.
            self.refused = "no_git" if error.filename == "git" else "no_answer"
        except (OSError, ValueError, subprocess.SubprocessError):
            self.refused = "no_answer"
        return None

    def _note_refusal(self, error: bytes) -> None:
        if b"dubious ownership" in error or b"unsafe repository" in error:
            self.refused = "not_owned"
            if named := _NAMED(error):
                self.place = Path(os.fsdecode(named[1]))
        elif b"not a git repository" in error:
            self.refused = "no_repository"


def _configured(git: _Git) -> tuple[str, list[str] | None]:
    """Return the URL of origin, and the names of the filters, which are commands to run; None
    where a filter can't be turned off.
    """
    answer = git.ask("config", "-z", "--list")
    origin, filters = "", dict[str, None]()
    for line in (answer or "").split("\0"):
        key, _, value = line.partition("\n")
        if key == "remote.origin.url":
            origin = value
        elif found := _FILTER(key):
            filters[found[1]] = None
    can_be_named = answer is not None and not any("=" in name for name in filters)
    return origin, list(filters) if can_be_named else None


def _without_filter(name: str) -> list[str]:
    settings = ("clean=", "smudge=", "process=", "required=false")
    return [word for setting in settings for word in ("-c", f"filter.{name}.{setting}")]
