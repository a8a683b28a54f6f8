"""`ama remote`: the stores that this directory, or this user, publishes to."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ama.cli.arguments import as_given, parse_options
from ama.cli.care import UserOption
from ama.cli.commands import new_group, register
from ama.cli.completion import complete_remote
from ama.cli.output import console
from ama.cli.targets import config_path, find_repo, load_settings, open_store
from ama.system.encoding import from_system

if TYPE_CHECKING:
    from ama.settings import Settings

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", autocompletion=complete_remote, help="The remote's name.")
]

OneRemote = Annotated[
    str | None,
    typer.Argument(
        metavar="[REMOTE]",
        autocompletion=complete_remote,
        callback=as_given,
        help="A remote's name, a URL or a directory; by default the default remote.",
    ),
]
OptionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="KEY=VALUE",
        help="What its client is told beside the URL, such as endpoint_url; never a secret.",
    ),
]


def list_() -> None:
    """List the remotes.

    Example:
        ama remote list
    """
    from ama.settings import list_remotes
    from ama.storage.urls import option_texts

    settings = load_settings()
    remotes = list_remotes(settings)
    if console.report(remotes):
        return
    if not remotes:
        console.note(f"no remote is configured: {_without_remotes(settings)}")
        console.note("next: ama remote add NAME URL")
        return
    own = [" ".join(option_texts(remote.options)) for remote in remotes]
    rows = [
        (r.name, r.url, "yes" if r.default else "", o) for r, o in zip(remotes, own, strict=True)
    ]
    header = ("Remote", "URL", "Default", "Options")
    shown = len(header) if any(own) else len(header) - 1
    console.table(header[:shown], [row[:shown] for row in rows])


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A new name.")],
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="A directory, gs://, s3://, az://, sftp://, https://."),
    ],
    user: UserOption = False,
    options: OptionsOption = None,
) -> None:
    """Add a remote. It becomes the default where there is none yet.

    Example:
        ama remote add team gs://our-models/ama
    """
    from ama.settings import add_remote
    from ama.storage.urls import is_read_only
    from ama.stores.creation import is_there

    path = config_path(user)
    before = load_settings()
    found = is_there(url, before)
    add_remote(path, name, url, parse_options(options or []))
    settings = load_settings()
    place = settings.remotes.get(name, url)
    _report(name, f"added remote {name}: {_prefix(path, settings)}{place}")
    if name in before.remotes and place != before.remotes[name]:
        console.note(f"here it stands for the {name} of this user, {before.remotes[name]}")
    if not found:
        console.note(f"no store is there yet: the first upload makes one at {place}")
    is_default = settings.default_remote_name == name
    if not is_default and settings.default_remote is not None:
        console.note(f"the default stays {settings.default_remote_name or settings.default_remote}")
    if is_read_only(place):
        console.next_step("ama download CLASS" + ("" if is_default else f" --remote {name}"))
    elif is_default:
        console.next_step("ama upload")
    else:
        console.next_step(f"ama upload --remote {name}, or ama remote default {name}")


def remove(name: NameArgument, user: UserOption = False) -> None:
    """Remove a remote. What is stored there stays.

    Example:
        ama remote remove team
    """
    from ama.settings import remove_remote

    path = config_path(user)
    removed = remove_remote(path, name)
    if console.report(removed):
        return
    settings = load_settings()
    console.done(f"removed remote {name}{_suffix(path, settings)}; what is stored there stays")
    if name in settings.remotes:
        rest = "here" if path == settings.user_config_path else "for this user"
        console.note(f"another {name} is configured {rest}: {settings.remotes[name]}")
    if removed.default and settings.default_remote_name:
        console.note(f"the default is now {settings.default_remote_name}")
    elif removed.default and settings.remotes:
        console.note("no remote is the default now; next: ama remote default NAME")


def rename(
    name: NameArgument,
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")],
    user: UserOption = False,
) -> None:
    """Give a remote another name.

    Example:
        ama remote rename team archive
    """
    from ama.settings import rename_remote

    path = config_path(user)
    rename_remote(path, name, new)
    _report(new, f"renamed remote {name}{_suffix(path, load_settings())} to {new}")


def check(
    remote: OneRemote = None,
    options: OptionsOption = None,
) -> None:
    """Test whether it is safe to publish to a storage.

    It writes some files below check/ there, lets 8 writers race for one name, and deletes the
    files. It exits with 0 if publishing is safe, else with 8.

    Example:
        ama remote check gs://our-models/ama
    """
    from ama.errors import StorageError
    from ama.storage.check import check_storage
    from ama.storage.urls import open_storage

    settings = load_settings()
    url = settings.remote_url(remote)
    storage = open_storage(url, {**settings.options_at(url), **parse_options(options or [])})
    report = check_storage(storage)
    if console.report(report):
        raise typer.Exit(0 if report.can_publish else StorageError.exit_code)
    bad = next((found for found in report.findings if not found.ok), None)
    if bad and not report.can_read:
        raise StorageError(bad.seen, hint=bad.hints)
    rows = [(found.what, "yes" if found.ok else "NO", found.seen) for found in report.findings]
    console.table(("Can it", "", "Seen"), rows)
    if not report.is_there:
        makes = ": the first upload makes it" if report.can_publish else ""
        console.note(f"no directory {report.url} is there yet{makes}")
    if report.can_publish:
        console.done(f"{report.url} is safe to publish to, from many machines at once")
    elif storage.can_create is False:
        raise StorageError(
            f"{report.url} can be read, and is not one to publish to",
            hint="publish to the bucket or directory that it serves; to read it: ama download"
            f" CLASS --remote {shlex.quote(from_system(remote) if remote else report.url)}",
        )
    else:
        raise StorageError(
            f"{report.url} is not safe to publish to: what it can't do is above",
            hint=(bad and bad.hints) or "see docs/remotes.md, and use another storage",
        )


def upgrade(
    remote: OneRemote = None,
) -> None:
    """Let a store use what this version of ama brings.

    New weights then take less space, and `ama note` works. From then on, older versions of ama
    can't write to the store, and some can't read it: upgrade them first. A new store has everything
    from the start.

    Example:
        ama remote upgrade team
    """
    store = open_store(remote)
    added = store.upgrade()
    if console.report({"url": store.url, "features": list(added)}):
        return
    if not added:
        console.note(f"{store.url} has everything already")
        return
    console.done(f"upgraded {store.url}: {', '.join(added)}")
    console.note(
        "versions of ama that don't know this can't write to it any more, or not even read it:"
        " everybody needs this one"
    )


def default(name: NameArgument, user: UserOption = False) -> None:
    """Make a remote the one that commands use.

    Example:
        ama remote default team
    """
    from ama.settings import set_default_remote

    path = config_path(user)
    set_default_remote(path, name)
    settings = load_settings()
    for_user = path == settings.user_config_path
    _report(name, f"{name} is the default remote {_FOR_USER if for_user else 'of this worktree'}")
    if settings.default_remote_name != name:
        here = settings.default_remote_name or settings.default_remote
        console.note(f"here {here} stays the default")


_FOR_USER = "for this user, in all directories"


def _without_remotes(settings: Settings) -> str:
    """Say where uploads go if no remote is configured."""
    from ama.errors import NotFound

    repo = find_repo()
    try:
        url = settings.remote_url() if repo is None else repo.remote_url
    except NotFound as error:  # a user without a home
        return error.message
    if url == settings.default_store:
        return "uploads go to a store on this machine"
    return f"uploads go where this directory's asset came from, {url}"


def _prefix(path: Path, settings: Settings) -> str:
    return f"{_FOR_USER}: " if path == settings.user_config_path else ""


def _suffix(path: Path, settings: Settings) -> str:
    return " of this user" if path == settings.user_config_path else " of this worktree"


def _report(name: str, text: str) -> None:
    from ama.settings import list_remotes

    if console.json:
        remotes = list_remotes(load_settings())
        console.print_json(next((remote for remote in remotes if remote.name == name), None))
    else:
        console.done(text)


app = new_group(
    "List, add, check and remove remotes.",
    "ama remote add team /mnt/shared/ama",
    "ama remote",
)
register(app, "list", list_)
register(app, "add", add)
register(app, "rename", rename)
register(app, "remove", remove)
register(app, "default", default)
register(app, "check", check)
register(app, "upgrade", upgrade)
