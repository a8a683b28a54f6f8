"""The table of commands, in the order of `ama --help`, and how to build one.

Only the command to run is imported and built; the table has names and one-line summaries of the
rest. A test checks that each summary is the first line of its command's docstring.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command as command_of

from ama.cli.output import console

PROGRAM = "ama"

_QUIET_HELP = "Print only what was asked for, and errors."


@dataclass(frozen=True, slots=True)
class Entry:
    """A command of `ama`: the module and the function (or the app, for a group) behind it."""

    module: str
    target: str
    summary: str
    json: bool = True


SECTIONS: Mapping[str, Mapping[str, Entry]] = {
    "Work": {
        "init": Entry("work", "init", "Start an asset of a class in this directory."),
        "add": Entry("work", "add", "Stage files for the next upload."),
        "rm": Entry("work", "rm", "Delete files and stage their removal."),
        "restore": Entry("work", "restore", "Bring files back as they were."),
        "status": Entry("work", "status", "Show what is staged, changed and not published yet."),
        "diff": Entry("history", "diff", "Show which files differ, and how."),
        "set": Entry("work", "set_", "Set aliases, message and metadata of the next upload."),
        "commit": Entry("work", "commit", "Make an asset of what is staged, and keep it here."),
        "log": Entry("history", "log", "Show an asset and those that it came from, or a class."),
        "show": Entry(
            "history", "show", "Show an asset: who, when, why, code, run, parameters, data."
        ),
        "ls": Entry("history", "ls", "List the files of an asset."),
        "cat": Entry("history", "cat", "Print a file of an asset.", json=False),
        "switch": Entry("work", "switch", "Make this directory hold another asset."),
    },
    "Sharing": {
        "upload": Entry("sharing", "upload", "Publish what is staged."),
        "publish": Entry("publishing", "publish", "Publish files without a worktree."),
        "import": Entry(
            "importing", "import_", "Bring in archives, directories and files that are there."
        ),
        "download": Entry("sharing", "download", "Download an asset into a new directory."),
        "export": Entry(
            "exporting", "export", "Write an asset as plain files, for those who have no ama."
        ),
        "path": Entry("publishing", "path", "Print where an asset's files are on this machine."),
        "push": Entry("sharing", "push", "Publish commits that were made before."),
        "pull": Entry("sharing", "pull", "Fetch, and switch to where the alias points now."),
        "fetch": Entry("sharing", "fetch", "See what was published since."),
        "copy": Entry("deletion", "copy", "Copy an asset from one store to another."),
        "mirror": Entry(
            "exporting", "mirror", "Keep a whole store at another place, byte for byte."
        ),
        "list": Entry("sharing", "list_", "List classes, or the assets of a class."),
        "link": Entry("sharing", "link", "Link the asset that this one was made from."),
        "ref": Entry("sharing", "ref_app", "List and remove links to assets."),
        "note": Entry("notes", "note", "Note what is known later of an asset, or of a class."),
        "deprecate": Entry("deletion", "deprecate", "Advise against an asset."),
        "delete": Entry(
            "deletion", "delete", "Delete an asset: it is listed and downloaded no more."
        ),
        "alias": Entry("aliases", "app", "List, move and remove aliases."),
        "remote": Entry("remotes", "app", "List, add, check and remove remotes."),
    },
    "Tracking": {
        "find": Entry("tracking", "find", "Find the assets that hold a file, or fit conditions."),
        "compare": Entry(
            "tracking", "compare", "Show what differs between assets, or rank a class."
        ),
        "lineage": Entry("tracking", "lineage", "Show what an asset was made from, and into what."),
        "dashboard": Entry("tracking", "dashboard", "Show a store's models and data in a browser."),
    },
    "Care": {
        "hash": Entry("care", "hash_", "Print the BLAKE3 of files, as b3sum does."),
        "fsck": Entry("care", "fsck", "Verify everything that is stored."),
        "config": Entry("care", "app", "Read and change the configuration."),
    },
}

COMMANDS: Mapping[str, Entry] = {
    name: entry for section in SECTIONS.values() for name, entry in section.items()
}


# Names of commands in git, other tools and other commands of ama, and their names here.
_MEANT: Mapping[str, str] = {
    "ama annotate": "ama note",
    "ama branch": "ama set --alias ALIAS",
    "ama checkout": "ama switch",
    "ama cache": "ama path",
    "ama clone": "ama download",
    "ama describe": "ama note CLASS -m TEXT",
    "ama get": "ama download",
    "ama grep": "ama find",
    "ama search": "ama find",
    "ama help": "ama --help",
    "ama history": "ama log",
    "ama info": "ama show",
    "ama leaderboard": "ama compare --class CLASS",
    "ama notes": "ama note",
    "ama remove": "ama rm",
    "ama reset": "ama restore --staged",
    "ama tag": "ama set --alias ALIAS",
    "ama undelete": "ama delete --undo",
    "ama undeprecate": "ama deprecate --undo",
    "ama unlink": "ama ref remove",
    "ama unset": "ama set --unset",
    "ama version": "ama --version",
    "ama alias add": "ama alias move",
    "ama alias create": "ama alias move",
    "ama alias delete": "ama alias remove",
    "ama alias rm": "ama alias remove",
    "ama alias set": "ama alias move",
    "ama alias show": "ama alias history",
    "ama ref add": "ama link",
    "ama ref delete": "ama ref remove",
    "ama ref rm": "ama ref remove",
    "ama remote delete": "ama remote remove",
    "ama remote rm": "ama remote remove",
    "ama remote set-url": "ama config set remotes.NAME.url URL",
    "ama remote show": "ama remote list",
}


class Program(TyperGroup):
    """`ama` itself: finds a command in the table, and builds it when it is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name all commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Build a command; return None for an unknown name."""
        entry = COMMANDS.get(cmd_name)
        return None if entry is None else _build_entry(cmd_name, entry)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of a line; an unknown one is an error with the nearest names."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise unknown_command(PROGRAM, args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands of each section, without building one."""
        width = max(map(len, COMMANDS))
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                rows = [(name.ljust(width), entry.summary) for name, entry in entries.items()]
                formatter.write_dl(rows)


class Group(TyperGroup):
    """A command with commands below it, such as `ama alias`; without one it means `list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` before options that name no command."""
        only_options = all(arg.startswith("-") for arg in args)
        if only_options and not {"-h", "--help"} & {*args} and not ctx.resilient_parsing:
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of a line; an unknown one is an error with the nearest names."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise unknown_command(ctx.command_path, args[0], self.commands)
        return super().resolve_command(ctx, args)


class Command(TyperCommand):
    """A command. It keeps the words after `--` apart, for commands that treat them differently."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Name the arguments as git does, without typer's braces around required ones."""
        return [
            piece.removeprefix("{").removesuffix("}") for piece in super().collect_usage_pieces(ctx)
        ]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note the words after `--` before typer's parser mixes them with the words before."""
        if "--" in args:
            ctx.meta["ama.after_dashes"] = args[args.index("--") + 1 :]
        return super().parse_args(ctx, args)


def new_group(help_text: str, *examples: str, cls: type[Group] = Group) -> typer.Typer:
    """Build an app for the commands of a group."""
    return typer.Typer(
        cls=cls,
        help=help_text,
        epilog="\n    ".join(("\b\nExample:", *examples)),
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
    )


def build() -> Any:
    """Build the command `ama`, ready to run."""
    app = typer.Typer(
        cls=Program,
        name=PROGRAM,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        invoke_without_command=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        epilog="`ama COMMAND --help` shows the options of a command, with an example.",
    )
    app.callback(help=_docstring(_root))(_root)
    return command_of(app)


_FEW_COMMANDS = 8


def _names(path: str, known: Mapping[str, object]) -> str:
    few = ", ".join(known) if len(known) <= _FEW_COMMANDS else ""
    return f"there are {few}" if few else f"see what there is: {path} --help"


def unknown_command(path: str, wrong: str, known: Mapping[str, object]) -> Exception:
    """Return the error for a command that does not exist below `path`."""
    from ama.errors import InvalidInput
    from ama.format.names import nearest

    words = f"{path} {wrong}"
    meant = _MEANT.get(words)
    near = nearest(wrong, known) if meant is None else [f"`{meant}`"]
    hint = f"did you mean {' or '.join(near)}?" if near else _names(path, known)
    return InvalidInput(f"there is no command `{words}`", hint=hint)


def _root(
    context: typer.Context,
    directory: Annotated[
        str | None, typer.Option("-C", metavar="DIR", help="Run as if started in DIR.")
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help=_QUIET_HELP)] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """A content-addressed repository for machine-learning assets: models, datasets, checkpoints."""
    console.quiet = quiet
    if version:
        from ama import __version__

        console.line(f"{PROGRAM} {__version__}")
        raise typer.Exit
    if directory is not None:
        _change_directory(directory)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _change_directory(directory: str) -> None:
    from ama.errors import InvalidInput, NotFound, shown
    from ama.system.encoding import to_system

    try:
        os.chdir(to_system(directory))
    except FileNotFoundError:
        raise NotFound(
            f"there is no directory '{shown(directory)}'", hint="-C takes one that exists"
        ) from None
    except OSError as error:
        raise InvalidInput(f"can't enter '{shown(directory)}': {error.strerror}") from None


def _build_entry(name: str, entry: Entry) -> Any:
    target = getattr(import_module(f"ama.cli.{entry.module}"), entry.target)
    if not isinstance(target, typer.Typer):
        app = typer.Typer(rich_markup_mode=None, add_completion=False)
        register(app, name, target)
        target = app
    command = command_of(target)
    command.name = name
    command.short_help = entry.summary  # typer would cut it
    command.help = command.help or entry.summary
    for leaf in getattr(command, "commands", {name: command}).values():
        leaf.params.extend(p for p in _common_options() if entry.json or p.name != "json")
    return command


def register(app: typer.Typer, name: str, function: Any) -> None:
    """Register a function as a command. Help shows the `Example:` of its docstring unchanged."""
    text, _, example = _docstring(function).partition("\nExample:\n")
    # Typer does not rewrap a paragraph that begins with a backspace.
    epilog = f"\b\nExample:\n{example}" if example else None
    app.command(name, help=text.strip(), epilog=epilog, cls=Command)(function)


def _docstring(function: Any) -> str:
    """Return a function's docstring, from its source if Python has dropped it (`-OO`)."""
    if function.__doc__ is None:
        import ast
        from textwrap import dedent

        try:
            found = ast.parse(dedent(inspect.getsource(function))).body[0]
        except (OSError, SyntaxError):
            return ""
        return ast.get_docstring(found) or ""  # type: ignore[arg-type]
    return inspect.cleandoc(function.__doc__)


def _want_json(value: bool) -> None:
    console.json = value


def _want_quiet(value: bool) -> None:
    console.quiet = console.quiet or value


def _options(
    json: Annotated[
        bool, typer.Option("--json", callback=_want_json, help="Print JSON and nothing else.")
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("-q", "--quiet", callback=_want_quiet, help=_QUIET_HELP),
    ] = False,
) -> None:
    """Declare the options that every command has; only the parameters are used."""


@cache
def _common_options() -> list[Any]:
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command()(_options)
    params: list[Any] = command_of(app).params
    for param in params:
        param.expose_value = False  # the callbacks set the console
    return params
