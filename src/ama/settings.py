"""What the user has configured, in the environment, in the worktree and on this machine.

This is the one module of the library that reads the environment, and what it finds is passed
on as a value.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ama import config
from ama.errors import AlreadyExists, AmaError, InvalidInput, NotFound, shown
from ama.names import nearest
from ama.storage.credentials import without_credentials
from ama.storage.urls import parse_url, split_options

if TYPE_CHECKING:
    from ama.results import RemoteInfo

CONFIG_FILE = "config.toml"
CONTROL_DIRECTORY = ".ama"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is configured. A URL of a directory is an absolute path.

    Attributes:
        data_dir: Where the store on this machine is, and what else must be kept.
        cache_dir: What may be deleted at any time.
        user_config_path: The user's own config file, which needn't exist.
        user_name: As configured, or None.
        user_email: As configured, or None.
        remotes: The URL of each configured remote, with what its client is told behind a '?', so
            that it means one store; as it was written where it can't be opened.
        options: Ama's own options of each remote that has some, by its name; see `open_storage`.
        broken: Why a remote can't be opened, by its name.
        default_remote: The URL that is used where none is given; None: nothing is configured,
            and `default_store` is used.
        default_remote_name: Its name; None where the environment gives just a URL.
        default_error: Why there is no default remote, though one is configured: `remote_url`
            raises it, so that only who needs the default stumbles over it.
        portable_names: Whether `add` refuses names that some system can't hold.
        record_git: Whether an asset says at which commit of a git repository it was made.
        worktree_dir: The worktree that these settings are for, or None.
        local: All that the worktree's config file says.
        user: All that the user's says.
    """

    data_dir: Path
    cache_dir: Path
    user_config_path: Path
    user_name: str | None = None
    user_email: str | None = None
    remotes: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, config.Option]] = field(default_factory=dict)
    broken: Mapping[str, InvalidInput] = field(default_factory=dict)
    default_remote: str | None = None
    default_remote_name: str | None = None
    default_error: AmaError | None = None
    portable_names: bool = True
    record_git: bool = True
    worktree_dir: Path | None = None
    local: Mapping[str, object] = field(default_factory=dict)
    user: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def load(
        cls, worktree_dir: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Settings:
        """Read what is configured: the environment wins over the worktree, that over the user.

        Args:
            worktree_dir: The directory that has `.ama` in it, if there is one.
            environ: Where `AMA_REMOTE` (a remote's name or a URL), `AMA_CONFIG_DIR`,
                `AMA_CACHE_DIR` and `AMA_DATA_DIR` are looked up; None for the process's own.

        Raises:
            InvalidInput: A config file is broken.
            StorageError: A config file can't be read.

        Example:
            >>> environ = {"AMA_REMOTE": "memory://team", "AMA_CONFIG_DIR": "config"}
            >>> Settings.load(environ=environ).default_remote
            'memory://team'
        """
        environ = os.environ if environ is None else environ
        user_path = user_config_path(environ)
        user = config.load(user_path)
        local_path = None if worktree_dir is None else worktree_config_path(worktree_dir)
        local = {} if local_path is None else config.load(local_path)
        found = {
            **_remotes(user, _base(user_path)),
            **_remotes(local, worktree_dir or Path()),
        }
        remotes = {name: remote.url for name, remote in found.items()}
        broken = {name: remote.error for name, remote in found.items() if remote.error}
        name, url, error = None, None, None
        try:
            wanted = environ.get("AMA_REMOTE", "")
            name, url = _default_remote(wanted, local, user, remotes, broken)
        except AmaError as found_error:
            error = found_error
        portable = _first("add.portable_names", local, user)
        return cls(
            data_dir=_directory("data", environ),
            cache_dir=_directory("cache", environ),
            user_config_path=user_path,
            user_name=_text(_first("user.name", local, user)),
            user_email=_text(_first("user.email", local, user)),
            remotes=remotes,
            options={name: remote.options for name, remote in found.items() if remote.options},
            broken=broken,
            default_remote=url,
            default_remote_name=name,
            default_error=error,
            portable_names=portable is not False,
            record_git=_first("record.git", local, user) is not False,
            worktree_dir=worktree_dir,
            local=local,
            user=user,
        )

    def of_class(self, name: str) -> dict[str, tuple[str, ...]]:
        """Return what is set for a class, by setting: globs; the worktree wins over the user.

        Example:
            >>> from dataclasses import replace
            >>> settings = Settings.load(environ={"AMA_CONFIG_DIR": "config"})
            >>> user = {"classes": {"models": {"metrics": "eval.yml"}}}
            >>> replace(settings, user=user).of_class("models")
            {'metrics': ('eval.yml',)}
        """
        return {
            **config.class_settings(self.user, name),
            **config.class_settings(self.local, name),
        }

    @property
    def default_store(self) -> Path:
        """The directory of the store on this machine, for when nothing is configured."""
        return self.data_dir / "store"

    def remote_url(self, remote: str | None = None) -> str:
        """Return the URL of a remote.

        Args:
            remote: Its name, or a URL or path; None for the default one, which is the store on
                this machine if nothing is configured.

        Raises:
            NotFound: No remote has that name.
            InvalidInput: It can't be a URL that ama opens, or the default one isn't configured.

        Example:
            >>> settings = Settings.load(environ={"AMA_CONFIG_DIR": "config"})
            >>> settings.remote_url("memory://team")
            'memory://team'
        """
        if remote is None:
            if self.default_error is not None:
                raise self.default_error
            return self.default_remote or str(self.default_store)
        return _find_remote(remote, self.remotes, self.broken)[1]

    def options_at(self, url: str) -> dict[str, config.Option]:
        """Return ama's own options for the store at a URL: those of the remotes that it has there.

        Example:
            >>> settings = Settings.load(environ={"AMA_CONFIG_DIR": "config"})
            >>> settings.options_at("s3://models/ama?anon=true")
            {}
        """
        names = [name for name, known in self.remotes.items() if known == url]
        return {key: v for name in names for key, v in self.options.get(name, {}).items()}

    def urls(self) -> list[str]:
        """Return the URLs of all stores that can be opened: the default one, then the others.

        Example:
            >>> Settings.load(environ={"AMA_REMOTE": "memory://a"}).urls()
            ['memory://a']
        """
        found = [] if self.default_error is not None else [self.remote_url()]
        return found + [url for name, url in self.remotes.items() if name not in self.broken]

    def author(self) -> str:
        """Say who makes an asset: as configured, else as git has it, else login and host.

        Returns:
            `Name <email>`, on one line.

        Example:
            >>> from dataclasses import replace
            >>> settings = Settings.load(environ={"AMA_CONFIG_DIR": "config"})
            >>> replace(settings, user_name="Ann", user_email="ann@example.org").author()
            'Ann <ann@example.org>'
        """
        name, email = self.user_name, self.user_email
        if not (name and email):
            from_git = _ask_git(self.worktree_dir)
            name = name or from_git.get("user.name")
            email = email or from_git.get("user.email")
        login = _login_at_host()
        name = _one_line(name or (email or login).partition("@")[0])
        return f"{name} <{_one_line(email or login)}>"

    def code(self) -> dict[str, str | bool]:
        """Say which code makes an asset: what git says of the worktree; see `ama.git`.

        Returns:
            Metadata. None, where it isn't to be recorded, or there is no repository.

        Example:
            >>> Settings.load(environ={"AMA_CONFIG_DIR": "config"}).code()
            {}
        """
        if self.worktree_dir is None or not self.record_git:
            return {}
        from ama.git import describe

        return describe(self.worktree_dir, os.environ)

    def names_author(self) -> bool:
        """Say whether `author` is somebody's choice, here or in git, and no guess.

        Example:
            >>> from dataclasses import replace
            >>> settings = Settings.load(environ={"AMA_CONFIG_DIR": "config"})
            >>> replace(settings, user_name="Ann").names_author()
            True
        """
        return bool(self.user_name or self.user_email or _ask_git(self.worktree_dir))


def user_config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Return where the user's own config file is, or would be.

    Example:
        >>> user_config_path({"AMA_CONFIG_DIR": "/etc/ama"}).as_posix()
        '/etc/ama/config.toml'
    """
    return _directory("config", os.environ if environ is None else environ) / CONFIG_FILE


def worktree_config_path(worktree_dir: Path) -> Path:
    """Return where a worktree's config file is, or would be.

    Example:
        >>> worktree_config_path(Path("/runs/7")).as_posix()
        '/runs/7/.ama/config.toml'
    """
    return worktree_dir / CONTROL_DIRECTORY / CONFIG_FILE


def add_remote(
    path: Path, name: str, url: str, options: Mapping[str, config.Option] | None = None
) -> None:
    """Configure a remote. It becomes the default one where there is none yet, and only there.

    Args:
        path: The config file.
        name: The new remote's name.
        url: Where it is. A relative path is taken from the working directory.
        options: What its client is told beside the URL, and ama's own; see
            `ama.storage.opening.open_storage`.

    Raises:
        AlreadyExists: That config file has a remote of that name.
        InvalidInput: The name or the URL can't be one, or an option is a credential.

    Example:
        >>> add_remote(Path("config.toml"), "team", "memory://team")
    """
    config.check_remote_name(name)
    data = config.load(path)
    remotes = _remotes(data, _base(path))
    _require_free(name, remotes)
    _resolved(url, options or {}, Path())
    config.set_remote(path, name, _absolute(url, Path()), options or {})
    user = _of_user(path)
    if _first("remote.default", data, user) is None:
        # Of several without a default none is one: the only one there was stays it.
        only = list({**remotes, **_remotes(user, Path())})
        config.set_value(path, "remote.default", only[0] if len(only) == 1 else name)


def remove_remote(path: Path, name: str) -> RemoteInfo:
    """Forget a remote. What is stored there stays.

    Args:
        path: The config file.
        name: The remote's name.

    Returns:
        What it was.

    Raises:
        NotFound: That config file has no remote of that name.

    Example:
        >>> add_remote(Path("config.toml"), "old", "memory://old")
        >>> remove_remote(Path("config.toml"), "old").url
        'memory://old'
    """
    from ama.results import RemoteInfo

    data = config.load(path)
    remotes = _remotes(data, _base(path))
    if name not in remotes:
        raise _not_in(path, name, remotes)
    default = config.get(data, "remote.default") == name
    if default:
        config.unset(path, "remote.default")
    config.unset(path, f"remotes.{name}")
    return RemoteInfo(name, remotes[name].url, default, remotes[name].options)


def rename_remote(path: Path, name: str, new: str) -> None:
    """Give a configured remote another name; what is set for it stays, also if it is the default.

    Args:
        path: The config file.
        name: The remote's name.
        new: Its new one.

    Raises:
        NotFound: That config file has no remote of that name.
        AlreadyExists: It has one of the new name.
        InvalidInput: The new name can't be one.

    Example:
        >>> add_remote(Path("config.toml"), "tmp", "memory://tmp")
        >>> rename_remote(Path("config.toml"), "tmp", "team")
    """
    remotes = _remotes(config.load(path), _base(path))
    if name not in remotes:
        raise _not_in(path, name, remotes)
    _require_free(new, remotes)
    config.rename_remote(path, name, new)


def set_default_remote(path: Path, name: str, environ: Mapping[str, str] | None = None) -> None:
    """Make a remote the one that is used where none is given.

    Args:
        path: The config file.
        name: A remote in that file, or in the user's own config file.
        environ: Where `AMA_CONFIG_DIR` is looked up; None for the process's own.

    Raises:
        NotFound: There is no remote of that name.

    Example:
        >>> add_remote(Path("config.toml"), "bucket", "memory://bucket")
        >>> set_default_remote(Path("config.toml"), "bucket")
    """
    remotes = _remotes(config.load(path), _base(path))
    if name not in remotes:
        remotes = {**_remotes(config.load(user_config_path(environ)), Path()), **remotes}
    if name not in remotes:
        raise _no_remote(name, remotes)
    config.set_value(path, "remote.default", name)


def set_remote_url(path: Path, name: str, url: str) -> None:
    """Set where a remote of a config file is; what else is set for it stays.

    Args:
        path: The config file.
        name: The remote's name; it needn't be there yet.
        url: Where it is. A relative path is taken from the working directory.

    Raises:
        InvalidInput: The name or the URL can't be one, or the remote's options don't go with it.

    Example:
        >>> set_remote_url(Path("config.toml"), "moved", "memory://moved")
    """
    _resolved(url, config.remote_options(config.load(path), name), Path())
    config.set_value(path, f"remotes.{name}.url", _absolute(url, Path()))


def list_remotes(settings: Settings) -> tuple[RemoteInfo, ...]:
    """Return the configured remotes, by name.

    Example:
        >>> list_remotes(Settings.load(environ={"AMA_CONFIG_DIR": "no-such-directory"}))
        ()
    """
    from ama.results import RemoteInfo

    return tuple(
        RemoteInfo(
            name=name,
            url=url,
            default=name == settings.default_remote_name,
            options=settings.options.get(name, {}),
        )
        for name, url in sorted(settings.remotes.items())
    )


def _directory(kind: str, environ: Mapping[str, str]) -> Path:
    override = environ.get(f"AMA_{kind.upper()}_DIR", "")
    if override:
        return Path(os.path.abspath(os.path.expanduser(override)))
    import platformdirs

    find = {
        "data": platformdirs.user_data_path,
        "cache": platformdirs.user_cache_path,
        "config": platformdirs.user_config_path,
    }[kind]
    return find("ama", appauthor=False)


def _first(key: str, *sources: Mapping[str, object]) -> object | None:
    return next((v for source in sources if (v := config.get(source, key)) is not None), None)


def _text(value: object | None) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


class _Configured(NamedTuple):
    """A remote of a config file. One that can't be opened can be listed and removed."""

    url: str
    options: Mapping[str, config.Option] = {}
    error: InvalidInput | None = None


def _remotes(data: Mapping[str, object], base: Path) -> dict[str, _Configured]:
    tables = config.get(data, "remotes")
    found: dict[str, _Configured] = {}
    for name in tables if isinstance(tables, Mapping) else ():
        url = str(config.get(data, f"remotes.{name}.url"))
        try:
            found[name] = _resolved(url, config.remote_options(data, name), base)
        except InvalidInput as error:
            found[name] = _Configured(without_credentials(url), error=error)
    return found


def _base(path: Path) -> Path:
    """What a relative path in a config file starts from: its worktree, or its directory."""
    return path.parent.parent if path.parent.name == CONTROL_DIRECTORY else path.parent


def _resolved(url: str, options: Mapping[str, config.Option], base: Path) -> _Configured:
    """The URL that means the store of a remote, and what else is set for it."""
    clients, own = split_options(options)
    return _Configured(str(parse_url(_absolute(url, base), clients)), own)


def _require_free(name: str, remotes: Mapping[str, _Configured]) -> None:
    if name in remotes:
        raise AlreadyExists(
            f"remote '{name}' exists already: {shown(remotes[name].url)}",
            hint="remove it first, or choose another name",
        )


def _absolute(url: str, base: Path) -> str:
    """A URL as it is, and a path as seen from anywhere."""
    if parse_url(url).scheme is not None:
        return url
    return os.path.abspath(os.path.join(base, os.path.expanduser(url)))


def _default_remote(
    wanted: str,
    local: Mapping[str, object],
    user: Mapping[str, object],
    remotes: Mapping[str, str],
    broken: Mapping[str, InvalidInput],
) -> tuple[str | None, str | None]:
    if wanted:
        try:
            return _find_remote(wanted, remotes, broken)
        except (NotFound, InvalidInput) as error:
            raise type(error)(f"AMA_REMOTE: {error.message}", hint=error.hint) from None
    name = _text(_first("remote.default", local, user))
    if name is None:
        if len(remotes) != 1:
            return None, None
        (name,) = remotes
    if name not in remotes:
        raise InvalidInput(
            f"the default remote is '{shown(name)}', and no such remote is configured",
            hint=f"choose another: ama remote default NAME; or add it: ama remote add {shown(name)}"
            " URL",
        )
    return _find_remote(name, remotes, broken)


def _find_remote(
    wanted: str, remotes: Mapping[str, str], broken: Mapping[str, InvalidInput]
) -> tuple[str | None, str]:
    """The name (None: it is a URL) and the URL of what a user called a remote."""
    if wanted in broken:
        raise InvalidInput(
            f"remotes.{wanted}: {broken[wanted].message}",
            hint=f"correct it: ama config set remotes.{wanted}.url URL; or remove it:"
            f" ama remote remove {wanted}",
        )
    if wanted in remotes:
        return wanted, remotes[wanted]
    if "/" not in wanted and os.sep not in wanted and wanted[:1] not in ("", ".", "~"):
        error = _no_remote(wanted, remotes)
        if os.path.isdir(wanted):
            hint = f"a directory is written as a path: ./{shown(wanted)}"
            raise NotFound(error.message, hint=hint)
        raise error
    return None, _resolved(wanted, {}, Path()).url


def _of_user(path: Path) -> dict[str, object]:
    """What the user's own config file says; nothing if it is the given one."""
    user = user_config_path()
    return {} if path == user else config.load(user)


def _not_in(path: Path, name: str, remotes: Iterable[str]) -> NotFound:
    users = _remotes(_of_user(path), Path())
    if name in users:
        return NotFound(
            f"remote '{name}' is configured for this user, not for this worktree",
            hint="run the same command with --user",
        )
    return _no_remote(name, {*remotes, *users})


def _no_remote(name: str, remotes: Iterable[str]) -> NotFound:
    known = nearest(name, list(remotes)) or sorted(remotes)
    hint = "there is " + ", ".join(known) if known else "add one with `ama remote add NAME URL`"
    return NotFound(f"there is no remote '{shown(name)}'", hint=hint)


def _ask_git(directory: Path | None) -> dict[str, str]:
    """What git would call the author; empty where there is no git, or it doesn't know."""
    import subprocess

    command = ["git", "config", "--null", "--get-regexp", r"^user\.(name|email)$"]
    try:
        answer = subprocess.run(
            command, cwd=directory, capture_output=True, timeout=5, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = answer.decode("utf-8", errors="replace").split("\0")
    pairs = (line.partition("\n") for line in lines if line)
    return {key.lower(): value.strip() for key, _, value in pairs if value.strip()}


def _login_at_host() -> str:
    import getpass
    import socket

    try:
        login = getpass.getuser()
    except (KeyError, OSError, ImportError):
        login = "unknown"
    return f"{login}@{socket.gethostname() or 'localhost'}"


def _one_line(text: str) -> str:
    kept = "".join(c if c.isprintable() else " " for c in text if c not in "<>")
    return " ".join(kept.split()) or "unknown"
