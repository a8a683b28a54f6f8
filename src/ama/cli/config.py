"""`ama config`: the configuration of this worktree and of this user."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

import typer

from ama.cli.commands import Group, new_group, register
from ama.cli.completion import complete_key
from ama.cli.output import console
from ama.cli.targets import config_path
from ama.system.encoding import from_system

UserOption = Annotated[
    bool,
    typer.Option("--user", help="The configuration of this user, not that of this worktree."),
]
KeyArgument = Annotated[
    str,
    typer.Argument(metavar="KEY", autocompletion=complete_key, help="A key such as user.name."),
]


def list_() -> None:
    """List what is configured, and where.

    Example:
        ama config list
    """
    entries = [(key, value, where) for key, (value, where) in sorted(_entries().items())]
    if console.json:
        console.print_json([{"key": k, "value": v, "where": w} for k, v, w in entries])
    elif entries:
        rows = [(key, _text(value), where) for key, value, where in entries]
        console.table(("Key", "Value", "Where"), rows)
    else:
        console.note("nothing is configured; next: ama config set --user user.name NAME")


def get(key: KeyArgument) -> None:
    """Print a value.

    Example:
        ama config get user.name
    """
    from ama.config import KNOWN_KEYS
    from ama.errors import NotFound
    from ama.format.names import nearest

    entries = _entries()
    if key not in entries:
        near = [] if key in KNOWN_KEYS else nearest(key, KNOWN_KEYS)
        hint = f"did you mean {' or '.join(near)}?" if near else f"ama config set {key} VALUE"
        raise NotFound(f"{key} isn't set", hint=hint)
    value, where = entries[key]
    if not console.report({"key": key, "value": value, "where": where}):
        console.line(_text(value))


def set_(
    key: KeyArgument,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its new value.")],
    user: UserOption = False,
) -> None:
    """Set a value.

    Example:
        ama config set --user user.email ann@example.com
    """
    from ama.config import set_value

    path = config_path(user)
    if key == "remote.default":
        from ama.settings import set_default_remote

        # A default that isn't there would stop every other command.
        set_default_remote(path, value)
    elif remote := _remote_of(key):
        from ama.settings import set_remote_url

        set_remote_url(path, remote, value)
    else:
        set_value(path, key, value)
    if not console.report({"key": key, "value": value, "where": path}):
        console.done(f"set {key} in {from_system(path)}")


def unset(key: KeyArgument, user: UserOption = False) -> None:
    """Take a value back.

    Example:
        ama config unset remote.default
    """
    from ama.config import unset as unset_value

    path = config_path(user)
    if remote := _remote_of(key):
        from ama.settings import remove_remote

        # A remote is nothing without it, and neither is a default that names it.
        remove_remote(path, remote)
    else:
        unset_value(path, key)
    if not console.report({"key": key, "where": path}):
        console.done(f"unset {key} in {from_system(path)}")


def _remote_of(key: str) -> str | None:
    """The remote whose URL a key is."""
    is_url = key.startswith("remotes.") and key.endswith(".url") and key.count(".") == 2
    return key.split(".")[1] if is_url else None


def _entries() -> dict[str, tuple[object, str]]:
    """Every key that is set, with its value and the file that has the last word."""
    from ama.config import load
    from ama.errors import NotFound

    paths = [config_path(user=False)]
    with suppress(NotFound):  # a user without a home has no file, and the worktree may have one
        paths.insert(0, config_path(user=True))
    entries: dict[str, tuple[object, str]] = {}
    for path in paths:
        for key, value in _flat(load(path)):
            entries[key] = (value, from_system(path))
    return entries


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _flat(data: object, prefix: str = "") -> list[tuple[str, object]]:
    if not isinstance(data, dict):
        return [(prefix, data)]
    return [
        pair
        for key, value in data.items()
        for pair in _flat(value, f"{prefix}.{key}" if prefix else str(key))
    ]


class ConfigGroup(Group):
    """`ama config` also takes git's short forms: `ama config KEY`, `ama config KEY VALUE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `get` or `set` before a key."""
        words = [arg for arg in args if not arg.startswith("-")]
        is_key = bool(words) and words[0] not in self.commands and "." in words[0]
        if is_key and not ctx.resilient_parsing:
            args = ["get" if len(words) == 1 else "set", *args]
        return super().parse_args(ctx, args)


app = new_group(
    "Read and change the configuration.",
    "ama config set --user user.name 'Ann Example'",
    "ama config",
    cls=ConfigGroup,
)
register(app, "list", list_)
register(app, "get", get)
register(app, "set", set_)
register(app, "unset", unset)
