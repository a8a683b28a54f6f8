"""Who uses this machine, and from which script: what git, the login and the host say."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ama.system.encoding import from_system

_AUTHOR = ("AMA_AUTHOR", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL")


def git_user(directory: Path | None) -> dict[str, str]:
    """Return git's name and email of the author; empty if there is no git, or it has none."""
    import subprocess

    command = ["git", "config", "--null", "--get-regexp", r"^user\.(name|email)$"]
    try:
        answer = subprocess.run(
            command, cwd=directory, capture_output=True, timeout=5, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = answer.decode("utf-8", errors="replace").split("\0")
    pairs = (line.partition("\n") for line in lines if line)
    return {key.lower(): value.strip() for key, _, value in pairs if value.strip()}


def login_at_host() -> str:
    """Return `login@host` of this process.

    Example:
        >>> login_at_host().count("@") >= 1
        True
    """
    import getpass
    import socket

    try:
        login = getpass.getuser()
    except (KeyError, OSError, ImportError):
        login = "unknown"
    return from_system(f"{login}@{socket.gethostname() or 'localhost'}")


def one_line(text: str) -> str:
    r"""Return a name or an email as an author has it: on one line, without angle brackets.

    Example:
        >>> one_line("Ann\n <ann>")
        'Ann ann'
    """
    kept = "".join(c if c.isprintable() else " " for c in text if c not in "<>")
    return " ".join(kept.split()) or "unknown"


def author_in(environ: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return the author's name and email in the environment; ama's own variable comes first."""
    said = {name: from_system(environ.get(name, "")).strip() for name in _AUTHOR}
    whole = said["AMA_AUTHOR"]
    name, bracket, email = whole.partition("<")
    if not bracket and "@" in whole and " " not in whole:
        name, email = "", whole
    email = email.partition(">")[0]
    return (
        name.strip() or said["GIT_AUTHOR_NAME"] or None,
        email.strip() or said["GIT_AUTHOR_EMAIL"] or None,
    )


def script_directory(here: Callable[[], Path]) -> Path | None:
    """Return the directory of the script that uses the library; in a notebook, `here`."""
    if "ama.cli" in sys.modules:  # the script is the command
        return None
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if not script:
        try:
            return here()
        except OSError:  # it was removed
            return None
    path = Path(os.path.abspath(script))
    # A tool of the environment, such as pytest, is nobody's code that makes assets.
    return None if path.is_relative_to(sys.prefix) else path.parent
