"""Other users of this machine, for tests that run as root."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ama.errors import AmaError
from ama.wording.hints import words


@dataclass(frozen=True)
class Said:
    """How a user's work ended, and what it printed."""

    code: int
    stdout: str
    stderr: str


def as_user(uid: int, groups: tuple[int, ...], place: Path, work: Callable[[], int]) -> Said:
    """Run something as another user: in a fork, as others can't read the interpreter of root.

    Args:
        uid: The user's id.
        groups: The user's groups, the own one first.
        place: A directory for what is printed.
        work: It returns an exit code; an error of ama's is printed with its hints.
    """
    out, err = place / "out", place / "err"
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork in which threads ran
        child = os.fork()
    if child == 0:
        code = 99
        try:
            for number, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
            sys.stdout, sys.stderr = (os.fdopen(n, "w", encoding="utf-8") for n in (1, 2))
            os.setgroups(groups[1:])
            os.setgid(groups[0])
            os.setuid(uid)
            code = work()
        except AmaError as error:
            code = error.exit_code
            sys.stderr.write("".join(traceback.format_exception_only(error)))
            sys.stderr.write(f"hint: {words(error.hints)}\n")
        except BaseException:  # noqa: BLE001 - a fork must never go on as pytest
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return Said(os.waitstatus_to_exitcode(status), out.read_text(), err.read_text())
