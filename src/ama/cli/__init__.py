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
    import sys

    try:
        from ama.cli.running import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        code = 130
    raise SystemExit(code)
