"""What runs: the words of this process's command line, its directory, the machine and Python."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ama.system.encoding import from_system

_KERNEL_FILE = re.compile(r"(.*[/\\])?kernel-[0-9A-Za-z-]+\.json", re.DOTALL).fullmatch
_WORKER = ("--multiprocessing-fork", "joblib.externals.loky.backend.popen_loky_posix")
"""Words of a process that another one started: its `sys.argv` is that of the first one."""


@dataclass(frozen=True, slots=True)
class Running:
    """What runs, as it is: words and paths may hold credentials."""

    command: tuple[str, ...] = ()
    """The words of the command line; empty in a notebook's kernel, where they say nothing."""
    notebook: str = ""
    """The path of the notebook, if it is known."""
    directory: str = ""
    """The working directory; empty if it is gone."""
    host: str = ""
    python: str = ""
    platform: str = ""


def kernel_shell() -> Any | None:
    """Return the shell of the notebook's kernel that this process is; None: it is none.

    Nothing is imported: a process that is a kernel has imported IPython already.

    Example:
        >>> kernel_shell() is None
        True
    """
    find = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = find() if callable(find) else None
    return shell if getattr(shell, "kernel", None) is not None else None


def look(
    words: Sequence[object], original: Sequence[object], directory: str, session: str
) -> Running:
    """Return what runs.

    Args:
        words: `sys.argv`, which a program may have changed.
        original: `sys.orig_argv`, empty where Python is part of another program.
        directory: The working directory.
        session: The notebook that Jupyter names in the environment.

    Example:
        >>> look(["train.py"], ["python", "train.py"], "/runs/7", "").command
        ('python', 'train.py')
        >>> look([], ["/usr/bin/python3", "/usr/bin/torchrun", "train.py"], "", "").command
        ('torchrun', 'train.py')
    """
    import platform
    import socket

    shell = kernel_shell()
    known = getattr(shell, "user_ns", {})
    notebook = known.get("__vsc_ipynb_file__") or session if shell is not None else ""
    command = tuple(from_system(str(word)) for word in original or words)
    if any(sign in word for word in command for sign in _WORKER):
        command = (*command[:1], *(from_system(str(word)) for word in words))
    elif len(command) > 1 and _beside(*command[:2]):
        # An installed program, such as torchrun: people type its name alone.
        command = (os.path.basename(command[1]), *command[2:])
    if shell is not None or any(map(_KERNEL_FILE, command)):
        command = ()
    implementation = platform.python_implementation()
    version = platform.python_version()
    return Running(
        command,
        from_system(str(notebook)),
        from_system(directory),
        _told(socket.gethostname),
        version if implementation == "CPython" else f"{implementation} {version}",
        _told(platform.platform),
    )


def _told(ask: Callable[[], str]) -> str:
    """Return what the system says; empty if it refuses: that is no reason to publish nothing."""
    try:
        return from_system(ask())
    except (OSError, ValueError):
        return ""


def _beside(python: str, script: str) -> bool:
    place = os.path.dirname(python)
    return bool(place) and place == os.path.dirname(script)
