"""Running one command line. An error becomes one line, a hint and an exit code.

This module runs typer's command itself: typer answers errors with a usage text or a trace drawn
with rich, which neither scripts nor logs want.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import typer

from ama.cli.commands import COMMANDS, PROGRAM, build
from ama.cli.output import console
from ama.errors import AmaError, storage_error, too_few_threads
from ama.wording.hints import words

# The options of every command, which come after its name.
_EVERYWHERE = ("--json", "-q", "--quiet")

INTERNAL = 70
INTERRUPTED = 130
BROKEN_PIPE = 141
USAGE = 2

# The commands that continue an interrupted run when they are run again.
_RESUMED = frozenset({"upload", "download", "push", "pull", "switch", "import"})

_AGAIN = "close other programs, and run the same command again"

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# Options of git and of other commands of ama, and their names here.
_OPTIONS_MEANT: Mapping[str, str] = {
    "ama add -A": "all that is new, changed or gone here: ama add .",
    "ama add --all": "all that is new, changed or gone here: ama add .",
    "ama commit -a": "stage it first: ama add .",
    "ama commit --alias": "set it first: ama set --alias ALIAS",
    "ama commit --meta": "set it first: ama set --meta KEY=VALUE",
    "ama delete -m": "did you mean --reason? see `ama delete --help`",
    "ama delete --message": "did you mean --reason? see `ama delete --help`",
    "ama deprecate -m": "did you mean --reason? see `ama deprecate --help`",
    "ama deprecate --message": "did you mean --reason? see `ama deprecate --help`",
    "ama diff --cached": "did you mean --staged? see `ama diff --help`",
    "ama upload --alias": "set it first: ama set --alias ALIAS",
    "ama upload --meta": "set it first: ama set --meta KEY=VALUE",
}
_WORDS_MEANT: Mapping[str, str] = {
    "ama cat": "a file of an asset is one word: ASSET:PATH",
    "ama download": "an alias: --alias {words}; a directory: -o {words}",
    "ama set": "an alias: ama set --alias {words}",
    "ama show": "a file of an asset is one word: ASSET:PATH",
    "ama commit": "stage files first: ama add {words}",
    "ama upload": "stage files first: ama add {words}",
    "ama find": "a condition is one word: --param 'loss<0.3'",
    "ama fetch": "the files of an asset: ama path {words}; another store: --remote REMOTE",
    "ama path": "a file of an asset is one word: ASSET:PATH",
    "ama pull": "another store than the default: --remote REMOTE",
    "ama push": "another store than the default: --remote REMOTE",
}
_NO_NUMBER = re.compile(r"is not a valid int(eger)?( range)?\b")
_EXTRA = re.compile(r"Got unexpected extra argument(?:\(s\)|s?) \((.*)\)", re.DOTALL).match

# The base class of typer's usage errors; typer exports only a subclass.
_UsageError: Any = typer.BadParameter.__mro__[1]


@dataclass(frozen=True, slots=True)
class Failure:
    """An error in the form that the user sees."""

    code: str
    exit_code: int
    message: str
    hint: str | None = None


def run(arguments: Sequence[str]) -> int:
    """Run a command line, flush its output, and return its exit code.

    Args:
        arguments: The words after `ama`.
    """
    take_any_text()
    try:
        try:
            code = _invoke(list(arguments))
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - no error may reach the user as a trace
            code = _show(failure_of(error, arguments), arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        _discard_output()
        return BROKEN_PIPE
    except OSError as error:  # the output can't be written: the disk behind `> file` is full
        _discard_output()
        failure = failure_of(error)
        console.error(failure.message, failure.hint)
        return failure.exit_code


def _invoke(arguments: list[str]) -> int:
    command = build()
    if f"_{PROGRAM.upper()}_COMPLETE" in os.environ:
        from ama.cli.completion import complete

        return complete(command)
    try:
        with command.make_context(PROGRAM, arguments) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    except KeyboardInterrupt:
        again = f"go on with it: {shlex.join([PROGRAM, *arguments])}"
        hint = again if _RESUMED.intersection(arguments[:1]) else None
        return _show(Failure("interrupted", INTERRUPTED, "interrupted", hint), arguments)
    return 0


def failure_of(error: Exception, arguments: Sequence[str] = ()) -> Failure:
    """Explain an exception to the user who typed these arguments."""
    if isinstance(error, AmaError):
        hint = words(error.hints, partial(_at_the_same_remote, arguments=arguments))
        return Failure(error.code, error.exit_code, error.message, hint)
    if isinstance(error, _UsageError):
        return _usage_failure(error, arguments)
    if isinstance(error, OSError) and error.filename is None and error.errno in _DISK_FULL:
        return Failure("storage", 8, f"can't write the output: {error.strerror}")
    if isinstance(error, FileNotFoundError) and error.filename is None:  # raised by os.getcwd()
        return Failure("not-found", 3, "this directory was deleted", "go to another one: cd")
    if isinstance(error, OSError):  # an error below ama, such as in an import
        return _storage_failure(error, arguments)
    if isinstance(error, MemoryError):
        return Failure("storage", 8, "there is no memory left for this", _AGAIN)
    said = str(error)
    if isinstance(error, RuntimeError) and "start new thread" in said:
        return failure_of(too_few_threads(), arguments)
    if isinstance(error, ImportError) and os.strerror(errno.EMFILE) in said:
        return _storage_failure(OSError(errno.EMFILE, "", error.path or error.name), arguments)
    text = " ".join(said.split())
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    hint = "AMA_DEBUG=1 shows the trace; please report it"
    return Failure("internal", INTERNAL, f"internal: {what}", hint)


def _storage_failure(error: OSError, arguments: Sequence[str]) -> Failure:
    names = [
        os.fsdecode(n) for n in (error.filename, error.filename2) if isinstance(n, str | bytes)
    ]
    place = " or ".join(names) or "a file"
    return failure_of(storage_error(error, place, doing="read"), arguments)


def _at_the_same_remote(command: str, arguments: Sequence[str]) -> str:
    """Add the failed command's `--remote` to a command of a hint.

    The library does not know the names of remotes on the command line.
    """
    remote = _value_of("--remote", arguments)
    if remote is None or not _has_option(command.split()[1:], "--remote"):
        return command
    return f"{command} --remote {shlex.quote(remote)}"


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    for word, following in zip(arguments, [*arguments[1:], None], strict=False):
        if word == "--":
            break
        if word == option:
            return following
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def _has_option(words: Sequence[str], option: str) -> bool:
    """Tell whether a command, or one of a group, has an option of its own."""
    command = build()
    for word in words:
        command = command.get_command(None, word)
        if command is None:
            return False
    return any(option in param.opts for param in command.params)


def _usage_failure(error: Any, arguments: Sequence[str]) -> Failure:
    context = error.ctx
    named = (word for word in arguments if word in COMMANDS)
    command = context.command_path if context else " ".join((PROGRAM, next(named, ""))).rstrip()
    help_hint = f"see `{command} --help`"
    wrong_option = getattr(error, "option_name", None)
    if wrong_option is not None and hasattr(error, "possibilities"):
        near = _nearest_option(wrong_option, context)
        hint = f"did you mean {near}? {help_hint}" if near else help_hint
        if having := _siblings_with(wrong_option, context):
            hint = f"it goes with {', '.join(having)}"
        if wrong_option in _EVERYWHERE and hasattr(getattr(context, "command", None), "commands"):
            hint = f"it goes behind the command, such as `{command} list {wrong_option}`"
        if command != PROGRAM and wrong_option in ("-C", "--version"):
            hint = f"it goes before the command: {PROGRAM} {wrong_option} ..."
        hint = _OPTIONS_MEANT.get(f"{command} {wrong_option}", hint)
        if wrong_option[1:].isdecimal() and _takes("-n", context):
            hint = f"did you mean -n {wrong_option[1:]}? {help_hint}"
        return Failure("usage", USAGE, f"there is no option {wrong_option} in `{command}`", hint)
    if isinstance(error, typer.BadParameter) and error.param is None and error.param_hint is None:
        # Typer calls this an invalid value, but the line as a whole is wrong.
        return Failure("usage", USAGE, str(error.message), help_hint)
    message = str(error.format_message()).strip().rstrip(".").replace("\n", " ")
    message = _NO_NUMBER.sub("is no whole number", message)
    extra = _EXTRA(message)
    if extra:
        message = f"`{command}` takes no further words: {extra[1]}"
        help_hint = _WORDS_MEANT.get(command, help_hint).format(words=extra[1])
    return Failure("usage", USAGE, message[:1].lower() + message[1:], help_hint)


def _takes(option: str, context: Any) -> bool:
    if context is None:
        return False
    return any(option in param.opts for param in context.command.get_params(context))


def _nearest_option(wrong: str, context: Any) -> str | None:
    from ama.format.names import nearest

    if context is None:
        return None
    options = [option for param in context.command.get_params(context) for option in param.opts]
    # Drop the dashes, which make all options look alike.
    names = [option.removeprefix("--") for option in options if option.startswith("--")]
    near = nearest(wrong.lstrip("-"), names)
    return f"--{near[0]}" if near else None


def _siblings_with(option: str, context: Any) -> list[str]:
    """Return the other commands of a group that have an option."""
    group = getattr(context, "parent", None)
    if group is None:
        return []
    commands = getattr(group.command, "commands", {})
    return [
        f"{group.command_path} {name}"
        for name, command in commands.items()
        if any(option in param.opts for param in command.params)
    ]


def _show(failure: Failure, arguments: Sequence[str]) -> int:
    if os.environ.get("AMA_DEBUG") and sys.exc_info()[0] is not None:
        import traceback

        traceback.print_exc()
    # A command line that can't be parsed may still ask for JSON.
    if console.json or "--json" in arguments:
        shown = {"code": failure.code, "message": failure.message, "hint": failure.hint}
        console.print_json({"error": shown})
    else:
        console.error(failure.message, failure.hint)
    return failure.exit_code


def _discard_output() -> None:
    # Python flushes stdout again when it exits, and would report the same pipe again.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def take_any_text() -> None:
    """Make stdout and stderr accept any text without an error.

    A terminal gets its own encoding, with escapes for other characters. A pipe or a file gets
    UTF-8 in any locale, as names of files do, unless the environment says otherwise.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is None:
            continue
        reconfigure(errors="backslashreplace")
        if os.name != "nt" and "PYTHONIOENCODING" not in os.environ and not stream.isatty():
            reconfigure(encoding="utf-8", errors="backslashreplace")
