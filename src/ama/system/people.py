"""Who uses this machine: what git, the login and the host say."""

from __future__ import annotations

from pathlib import Path

from ama.system.encoding import from_system


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
