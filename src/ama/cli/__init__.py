"""The `ama` command: a thin layer of arguments and output over `ama.Repo` and `ama.Store`.

This module holds only `main` and imports nothing at the top, so that an interrupt during start-up
is reported like any other. Each command imports what it needs of ama inside its function, so that
`ama --help` costs hardly more than the import of typer.

Example:
    $ ama add model.h5 model.yml
    $ ama upload
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    import gc

    # A command makes many small values and hardly any cycles. With the default threshold of 700,
    # the search for cycles costs up to a tenth of its time.
    gc.set_threshold(100_000, 50, 100)

    open_missing()
    try:
        from ama.cli.main import run
        from ama.system.encoding import from_system

        code = run(list(map(from_system, sys.argv[1:])))
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        code = 130
    if code == 130 or "obstore" in sys.modules:
        # A client's Rust thread needs the interpreter to drop its last values or to notice an
        # interrupt. If it does so while the interpreter shuts down, SIGABRT ends the process.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


def open_missing() -> None:
    """Open those of descriptors 0, 1 and 2 that are closed to /dev/null, before a file gets them.

    Daemons, cron and shells (`>&-`) may start programs with closed descriptors. Output would then
    go into some file that is being written, or fail because Python has no stream.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # `open` returns the lowest free descriptor, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
