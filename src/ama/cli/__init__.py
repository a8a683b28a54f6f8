"""The `ama` command: a thin layer of arguments and output over `ama.Repo` and `ama.Store`.

Only `main` is here, and it imports nothing at the top, so that an interrupt during start-up is
reported like any other. What a command needs of ama is imported inside its function: `ama --help`
costs hardly more than importing typer.

Example:
    $ ama add model.h5 model.yml
    $ ama upload
"""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    import gc
    import os
    import sys

    # A command makes many small values and hardly a cycle: looking for these each time that 700
    # more of them are there costs up to a tenth of its time.
    gc.set_threshold(100_000, 50, 100)
    from ama.cli.streams import open_missing

    open_missing()
    try:
        from ama.cli.running import run
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
