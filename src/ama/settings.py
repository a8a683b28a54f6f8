"""What the user has configured, in the environment, in the worktree and on this machine.

This is the one module of the library that reads the environment, and what it finds is passed
on as a value.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ama import config
from ama.errors import AlreadyExists, AmaError, Hint, InvalidInput, NotFound, StorageError, shown
from ama.format.names import nearest
from ama.storage.credentials import without_credentials
from ama.storage.urls import parse_url, split_options
from ama.system.encoding import from_system, given, path_text, system_path, to_system

if TYPE_CHECKING:
    from ama.results import RemoteInfo
    from ama.system.git import Code

CONFIG_FILE = "config.toml"
CONTROL_DIRECTORY = ".ama"
_AUTHOR = ("AMA_AUTHOR", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is configured. A URL of a directory is an absolute path.

    Attributes:
        data_dir: Where the store on this machine is, and what else must be kept; None where no
            variable says it, and the user has no home.
        cache_dir: What may be deleted at any time; None likewise: nothing is remembered.
        user_config_path: The user's own config file, which needn't exist; None likewise.
        user_name: As the environment or a config file has it, or None.
        user_email: Likewise.
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
        code_dir: The directory of the code that makes assets, as named; None: the worktree.
        script_dir: Where it is looked for if the worktree lies in no repository, or None.
        worktree_dir: The worktree that these settings are for, or None.
        local: All that the worktree's config file says.
        user: All that the user's says.
    """

    data_dir: Path | None
    cache_dir: Path | None
    user_config_path: Path | None
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
    code_dir: Path | None = None
    script_dir: Path | None = None
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
                `AMA_CACHE_DIR`, `AMA_DATA_DIR`, `AMA_CODE`, `AMA_AUTHOR` (`Name <email>`),
                `GIT_AUTHOR_NAME` and `GIT_AUTHOR_EMAIL` are looked up; None for the process's own.

        Raises:
            InvalidInput: A config file is broken.
            StorageError: A config file can't be read.

        Example:
            >>> environ = {"AMA_REMOTE": "memory://team", "AMA_CONFIG_DIR": "config"}
            >>> Settings.load(environ=environ).default_remote
            'memory://team'
        """
        environ = os.environ if environ is None else environ
        user_path = _users_file(environ)
        user = _of_users_file(user_path)
        local_path = None if worktree_dir is None else worktree_config_path(worktree_dir)
        local = {} if local_path is None else config.load(local_path)
        found = {
            **_remotes(user, Path() if user_path is None else _base(user_path)),
            **_remotes(local, worktree_dir or Path()),
        }
        remotes = {name: remote.url for name, remote in found.items()}
        broken = {name: remote.error for name, remote in found.items() if remote.error}
        name, url, error = None, None, None
        try:
            wanted = from_system(environ.get("AMA_REMOTE", ""))
            name, url = _default_remote(wanted, local, user, remotes, broken)
        except AmaError as found_error:
            error = found_error
        code = environ.get("AMA_CODE", "")
        author_name, author_email = _author_in(environ)
        portable = _first("add.portable_names", local, user)
        return cls(
            data_dir=_directory("data", environ),
            cache_dir=_directory("cache", environ),
            user_config_path=user_path,
            user_name=author_name or _text(_first("user.name", local, user)),
            user_email=author_email or _text(_first("user.email", local, user)),
            remotes=remotes,
            options={name: remote.options for name, remote in found.items() if remote.options},
            broken=broken,
            default_remote=url,
            default_remote_name=name,
            default_error=error,
            portable_names=portable is not False,
            record_git=_first("record.git", local, user) is not False,
            code_dir=Path(os.path.abspath(os.path.expanduser(code))) if code else None,
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
    def default_store(self) -> str | None:
        """The directory of the store on this machine, for when nothing is configured."""
        return None if self.data_dir is None else from_system(self.data_dir / "store")

    def remote_url(self, remote: str | None = None) -> str:
        """Return the URL of a remote.

        Args:
            remote: Its name, or a URL or path; None for the default one, which is the store on
                this machine if nothing is configured.

        Raises:
            NotFound: No remote has that name; or nothing is configured, and the user has no home
                where the store on this machine would be.
            InvalidInput: It can't be a URL that ama opens, or the default one isn't configured.

        Example:
            >>> settings = Settings.load(environ={"AMA_CONFIG_DIR": "config"})
            >>> settings.remote_url("memory://team")
            'memory://team'
        """
        if remote is None:
            if self.default_error is not None:
                raise self.default_error
            found = self.default_remote or self.default_store
            if found is None:
                raise _homeless("there is no default store", "AMA_DATA_DIR", Hint("name-remote"))
            return found
        is_url = "://" in path_text("a remote", remote)
        remote = given(remote) if is_url else from_system(system_path(remote))
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
        first = None if self.default_error else self.default_remote or self.default_store
        found = [] if first is None else [first]
        return found + [url for name, url in self.remotes.items() if name not in self.broken]

    def author(self) -> str:
        """Say who makes an asset: as the environment says, else as configured, else as git has
        it, else login and host.

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

    def for_script(self) -> Settings:
        """Return these settings for the script that uses the library: its code may be recorded.

        Example:
            >>> Settings.load(environ={"AMA_CONFIG_DIR": "config"}).for_script().code_dir
        """
        return replace(self, script_dir=_script_directory())

    def code(self, directory: Path | None = None) -> Code:
        """Say which code makes an asset: what git says of a directory; see `ama.system.git`.

        Args:
            directory: Where the code is; by default what `AMA_CODE` names, else the worktree, and
                if that lies in no repository, where the calling script is.

        Returns:
            What is known; nothing, where it isn't to be recorded.

        Raises:
            InvalidInput: What is named is no directory.

        Example:
            >>> Settings.load(environ={"AMA_CONFIG_DIR": "config"}).code().facts
            {}
        """
        from ama.system.git import Code, look

        if self.worktree_dir is None or not self.record_git:
            return Code()
        named = self.code_directory(directory)
        found = look(named or self.worktree_dir, os.environ)
        if found.missing == "no_repository" and named is None and self.script_dir is not None:
            other = look(self.script_dir, os.environ)
            return found if other.missing == "no_repository" else other
        return found

    def code_directory(self, directory: Path | None = None) -> Path | None:
        """Return where the code is said to be: what is given, else what `AMA_CODE` names.

        Raises:
            InvalidInput: That is no directory.

        Example:
            >>> Settings.load(environ={"AMA_CONFIG_DIR": "config"}).code_directory() is None
            True
        """
        named = directory or self.code_dir
        if named is not None and not os.path.isdir(named):
            raise InvalidInput(
                f"{shown(str(named))} is no directory, so no code is there",
                hint=Hint("name-code"),
            )
        return named

    def names_author(self) -> bool:
        """Say whether `author` is somebody's choice, here or in git, and no guess.

        Example:
            >>> from dataclasses import replace
            >>> settings = Settings.load(environ={"AMA_CONFIG_DIR": "config"})
            >>> replace(settings, user_name="Ann").names_author()
            True
        """
        return bool(self.user_name or self.user_email or _ask_git(self.worktree_dir))


def _script_directory() -> Path | None:
    """Where the script is that uses the library; in a notebook, the working directory."""
    if "ama.cli" in sys.modules:  # the script is the command
        return None
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if not script:
        return Path.cwd()
    path = Path(os.path.abspath(script))
    # A tool of the environment, such as pytest, is nobody's code that makes assets.
    return None if path.is_relative_to(sys.prefix) else path.parent


def user_config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Return where the user's own config file is, or would be.

    Raises:
        NotFound: No variable says it, and the user has no home.

    Example:
        >>> user_config_path({"AMA_CONFIG_DIR": "/etc/ama"}).as_posix()
        '/etc/ama/config.toml'
    """
    path = _users_file(os.environ if environ is None else environ)
    if path is None:
        raise _homeless("this user has no config file", "AMA_CONFIG_DIR")
    return path


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
            `ama.storage.urls.open_storage`.

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
        users = _of_users_file(_users_file(os.environ if environ is None else environ))
        remotes = {**_remotes(users, Path()), **remotes}
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


def _users_file(environ: Mapping[str, str]) -> Path | None:
    directory = _directory("config", environ)
    return None if directory is None else directory / CONFIG_FILE


def _of_users_file(path: Path | None) -> dict[str, object]:
    """What the user's own config file says; nothing where there is none, or nobody may look.

    As git has it: who takes another user's rights for a command may keep the first one's HOME.
    """
    try:
        return {} if path is None else config.load(path)
    except StorageError as error:
        if error.errno == errno.EACCES and path and not os.access(path.parent, os.X_OK):
            return {}
        raise


def _homeless(what: str, variable: str, *instead: Hint) -> NotFound:
    return NotFound(
        f"{what}: no HOME is set, and this user has none",
        hint=(f"set {variable} to a directory, or HOME", *instead),
    )


def _directory(kind: str, environ: Mapping[str, str]) -> Path | None:
    """Return one of the user's directories; None where the user has no home."""
    override = environ.get(f"AMA_{kind.upper()}_DIR", "")
    if override:
        return Path(os.path.abspath(os.path.expanduser(override)))
    import platformdirs

    find = {
        "data": platformdirs.user_data_path,
        "cache": platformdirs.user_cache_path,
        "config": platformdirs.user_config_path,
    }[kind]
    try:
        return find("ama", appauthor=False)
    except RuntimeError:
        return None


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
    return from_system(os.path.abspath(os.path.join(base, os.path.expanduser(to_system(url)))))


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
            raise type(error)(f"AMA_REMOTE: {error.message}", hint=error.hints) from None
    name = _text(_first("remote.default", local, user))
    if name is None:
        if len(remotes) != 1:
            return None, None
        (name,) = remotes
    if name not in remotes:
        raise InvalidInput(
            f"the default remote is '{shown(name)}', and no such remote is configured",
            hint=(Hint("choose-default-remote"), Hint("add-remote", name=name)),
        )
    return _find_remote(name, remotes, broken)


def _find_remote(
    wanted: str, remotes: Mapping[str, str], broken: Mapping[str, InvalidInput]
) -> tuple[str | None, str]:
    """The name (None: it is a URL) and the URL of what a user called a remote."""
    if wanted in broken:
        raise InvalidInput(
            f"remotes.{wanted}: {broken[wanted].message}",
            hint=(Hint("correct-remote", name=wanted), Hint("remove-remote", name=wanted)),
        )
    if wanted in remotes:
        return wanted, remotes[wanted]
    if "/" not in wanted and os.sep not in wanted and wanted[:1] not in ("", ".", "~"):
        error = _no_remote(wanted, remotes)
        if os.path.isdir(to_system(wanted)):
            hint = f"a directory is written as a path: ./{shown(wanted)}"
            raise NotFound(error.message, hint=hint)
        raise error
    return None, _resolved(wanted, {}, Path()).url


def _of_user(path: Path) -> dict[str, object]:
    """What the user's own config file says; nothing if it is the given one."""
    user = _users_file(os.environ)
    return {} if path == user else _of_users_file(user)


def _not_in(path: Path, name: str, remotes: Iterable[str]) -> NotFound:
    users = _remotes(_of_user(path), Path())
    if name in users:
        return NotFound(
            f"remote '{name}' is configured for this user, not for this worktree",
            hint=Hint("run-with-user"),
        )
    return _no_remote(name, {*remotes, *users})


def _no_remote(name: str, remotes: Iterable[str]) -> NotFound:
    known = nearest(name, list(remotes)) or sorted(remotes)
    hint = Hint("known-remotes", names=tuple(known)) if known else Hint("add-a-remote")
    return NotFound(f"there is no remote '{shown(name)}'", hint=hint)


def _author_in(environ: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The name and email that the environment gives the author: what is ama's own goes first."""
    said = {name: from_system(environ.get(name, "")).strip() for name in _AUTHOR}
    whole = said["AMA_AUTHOR"]
    name, bracket, email = whole.partition("<")
    if not bracket and "@" in whole and " " not in whole:
        name, email = "", whole
    email = email.partition(">")[0]
    return (
        name.strip() or said["GIT_AUTHOR_NAME"] or None,
        email.strip() or said["GIT_AUTHOR_EMAIL"] or None,
    )


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
    return from_system(f"{login}@{socket.gethostname() or 'localhost'}")


def _one_line(text: str) -> str:
    kept = "".join(c if c.isprintable() else " " for c in text if c not in "<>")
    return " ".join(kept.split()) or "unknown"
