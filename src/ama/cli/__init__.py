"""The `ama` command: a thin layer of arguments and output over `ama.Repo` and `ama.Store`.

Only `main` is here, and it imports nothing at the top, so that an interrupt during start-up is
reported like any other. What a command needs of ama is imported inside its function: `ama --help`
costs hardly more than importing typer.

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

    # A command makes many small values and hardly a cycle: looking for these each time that 700
    # more of them are there costs up to a tenth of its time.
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
        # A thread of a client's in Rust that lets go of its last values, or has yet to notice the
        # interrupt, needs the interpreter: while that is taken down, that ends us by SIGABRT.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


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
