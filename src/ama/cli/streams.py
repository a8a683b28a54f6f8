"""The streams that a process was started with: there, and able to take any text."""

from __future__ import annotations

import os
import sys


def open_missing() -> None:
    """Let the descriptors 0, 1 and 2 that are closed lead nowhere, before a file gets them.

    Daemons, cron and shells (`>&-`) start programs so. What is printed would go into a file that is
    being written, and where Python has no stream there is none to print to.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest that is free, and so this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def take_any_text() -> None:
    """Let stdout and stderr print any text, and never fail at one.

    A terminal gets its own encoding, and escapes for what that can't say. What goes into a pipe or
    a file is UTF-8 whatever the locale, as names of files are: unless it is said otherwise.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is None:
            continue
        reconfigure(errors="backslashreplace")
        if os.name != "nt" and "PYTHONIOENCODING" not in os.environ and not stream.isatty():
            reconfigure(encoding="utf-8", errors="backslashreplace")
