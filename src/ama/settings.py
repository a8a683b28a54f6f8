"""The user's configuration, from the environment, the worktree and this machine.

Nothing else of the library reads the environment, except for what AWS's client would read.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ama import config
from ama.errors import AlreadyExists, AmaError, Hint, InvalidInput, NotFound, StorageError, shown
from ama.format.names import nearest
from ama.storage.credentials import without_credentials
from ama.storage.outside import Reach
from ama.storage.urls import parse_url, split_options
from ama.system.encoding import from_system, given, path_text, system_path, to_system
from ama.system.people import author_in, git_user, login_at_host, one_line, script_directory

if TYPE_CHECKING:
    from ama.results import RemoteInfo
    from ama.system.git import Code
    from ama.system.running import Running

CONFIG_FILE = "config.toml"
CONTROL_DIRECTORY = ".ama"
CACHE_SIZE = 10 * 1024**3
"""The bytes of fetched assets that a machine keeps by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The configuration. A URL of a directory is an absolute path.

    Attributes:
        data_dir: The directory of the store on this machine, and of other data to keep; None: no
            variable names it, and the user has no home.
        cache_dir: The directory of data that may be deleted at any time; None likewise: nothing is
            remembered.
        user_config_path: The user's own config file, which needn't exist; None likewise.
        user_name: The user's name in the environment or a config file, or None.
        user_email: The user's email, likewise.
        remotes: The URL of each configured remote, with its client's options behind a '?', so that
            it identifies one store; if it can't be opened, as written.
        options: Ama's own options of each remote that has some, by its name; see `open_storage`.
        broken: Why a remote can't be opened, by its name.
        default_remote: The URL of the default remote; None: nothing is configured, and
            `default_store` is used.
        default_remote_name: Its name; None if the environment gives only a URL.
        default_error: Why a configured default remote can't be used: `remote_url` raises it, so
            that only callers that need the default fail.
        content_dir: The directory of this machine's content cache; None: no variable names it, and
            the user has no home.
        content_size: The most bytes that it keeps; 0: it is switched off.
        portable_names: Whether `add` refuses names that some system can't hold.
        record_git: Whether an asset records the commit of a git repository.
        record_run: Whether an asset records the command line and the machine; None: as the verb has
            it, `publish` does and `upload` does not.
        code_dir: The directory of the code that makes assets, as named; None: the worktree.
        script_dir: The directory to look for code if the worktree is in no repository, or None.
        worktree_dir: The worktree of these settings, or None.
        local: The whole content of the worktree's config file.
        user: The whole content of the user's config file.
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
    content_dir: Path | None = None
    content_size: int = CACHE_SIZE
    portable_names: bool = True
    record_git: bool = True
    record_run: bool | None = None
    code_dir: Path | None = None
    script_dir: Path | None = None
    worktree_dir: Path | None = None
    local: Mapping[str, object] = field(default_factory=dict)
    user: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def load(
        cls, worktree_dir: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Settings:
        """Read the configuration: the environment overrides the worktree, and that the user.

        Args:
            worktree_dir: The directory with `.ama` in it, if there is one.
            environ: The environment with `AMA_REMOTE` (a remote's name or a URL), `AMA_CONFIG_DIR`,
                `AMA_CACHE_DIR`, `AMA_DATA_DIR`, `AMA_CONTENT_DIR`, `AMA_CACHE_SIZE`, `AMA_CODE`,
                `AMA_AUTHOR` (`Name <email>`), `GIT_AUTHOR_NAME` and `GIT_AUTHOR_EMAIL`; None: the
                process's own.

        Raises:
            InvalidInput: A config file is broken, or the size of the cache is none.
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
        author_name, author_email = author_in(environ)
        portable = _first("add.portable_names", local, user)
        run = _first("record.run", local, user)
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
            content_dir=_content_directory(environ, local_path, local, user_path, user),
            content_size=_content_size(environ, local, user),
            portable_names=portable is not False,
            record_git=_first("record.git", local, user) is not False,
            record_run=run if isinstance(run, bool) else None,
            code_dir=Path(os.path.abspath(os.path.expanduser(code))) if code else None,
            worktree_dir=worktree_dir,
            local=local,
            user=user,
        )

    def of_class(self, name: str) -> dict[str, tuple[str, ...]]:
        """Return the settings of a class as globs; the worktree overrides the user.

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
        """Return the directory of the store on this machine, the default without configuration."""
        return None if self.data_dir is None else from_system(self.data_dir / "store")

    def remote_url(self, remote: str | None = None) -> str:
        """Return the URL of a remote.

        Args:
            remote: A name, a URL or a path; None: the default remote, or without configuration the
                store on this machine.

        Raises:
            NotFound: No remote has that name; or nothing is configured, and the user has no home
                for the store on this machine.
            InvalidInput: It is no URL that ama opens, or the configured default is unusable.

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
        """Return ama's own options for the store at a URL, from the remotes with that URL.

        Example:
            >>> settings = Settings.load(environ={"AMA_CONFIG_DIR": "config"})
            >>> settings.options_at("s3://models/ama?anon=true")
            {}
        """
        names = [name for name, known in self.remotes.items() if known == url]
        return {key: v for name in names for key, v in self.options.get(name, {}).items()}

    @property
    def reach(self) -> Reach:
        """What references of stores may lead to, and how it is reached."""
        found = config.texts(_first("references.allow", self.local, self.user))
        return Reach.of(self.remotes, self.options, found)

    def urls(self) -> list[str]:
        """Return the URLs of all stores that can be opened: the default first.

        Example:
            >>> Settings.load(environ={"AMA_REMOTE": "memory://a"}).urls()
            ['memory://a']
        """
        first = None if self.default_error else self.default_remote or self.default_store
        found = [] if first is None else [first]
        return found + [url for name, url in self.remotes.items() if name not in self.broken]

    def author(self) -> str:
        """Return the author of assets: from the environment, else the configuration, else git,
        else login and host.

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
            from_git = git_user(self.worktree_dir)
            name = name or from_git.get("user.name")
            email = email or from_git.get("user.email")
        login = login_at_host()
        name = one_line(name or (email or login).partition("@")[0])
        return f"{name} <{one_line(email or login)}>"

    def for_script(self) -> Settings:
        """Return these settings for the script that uses the library: its code may be recorded.

        Example:
            >>> Settings.load(environ={"AMA_CONFIG_DIR": "config"}).for_script().code_dir
        """
        return self if self.script_dir else replace(self, script_dir=script_directory(Path.cwd))

    def code(self, directory: Path | None = None) -> Code:
        """Return the code that makes an asset: git's facts of a directory; see `ama.system.git`.

        Args:
            directory: The code's directory; by default that in `AMA_CODE`, else the worktree, and
                without one, or if that is in no repository, the directory of the calling script.

        Returns:
            The known facts; empty, if the code isn't to be recorded.

        Raises:
            InvalidInput: The named directory is none.

        Example:
            >>> Settings.load(environ={"AMA_CONFIG_DIR": "config"}).code().facts
            {}
        """
        from ama.system.git import Code, look

        named = self.code_directory(directory)
        place = named or self.worktree_dir or self.script_dir
        if place is None or not self.record_git:
            return Code()
        found = look(place, os.environ)
        if found.missing == "no_repository" and not named and self.script_dir not in (None, place):
            other = look(self.script_dir, os.environ)
            return found if other.missing == "no_repository" else other
        return found

    def environ(self) -> Mapping[str, str]:
        """Return the environment for a program that this process starts."""
        return os.environ

    def running(self) -> Running:
        """Return what runs: the command line of this process, its directory, and the machine.

        Example:
            >>> Settings.load(environ={"AMA_CONFIG_DIR": "config"}).running().python[:2]
            '3.'
        """
        from ama.system.running import look

        try:
            here = os.getcwd()
        except OSError:  # it was removed
            here = ""
        words, original = getattr(sys, "argv", ()), getattr(sys, "orig_argv", ())
        return look(words, original, here, os.environ.get("JPY_SESSION_NAME", ""))

    def code_directory(self, directory: Path | None = None) -> Path | None:
        """Return the named directory of the code: the given one, else that in `AMA_CODE`.

        Raises:
            InvalidInput: It is no directory.

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
        """Whether `author` is somebody's choice, here or in git, and no guess.

        Example:
            >>> from dataclasses import replace
            >>> settings = Settings.load(environ={"AMA_CONFIG_DIR": "config"})
            >>> replace(settings, user_name="Ann").names_author()
            True
        """
        return bool(self.user_name or self.user_email or git_user(self.worktree_dir))


def user_config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Return the path of the user's own config file, there or not.

    Raises:
        NotFound: No variable names it, and the user has no home.

    Example:
        >>> user_config_path({"AMA_CONFIG_DIR": "/etc/ama"}).as_posix()
        '/etc/ama/config.toml'
    """
    path = _users_file(os.environ if environ is None else environ)
    if path is None:
        raise _homeless("this user has no config file", "AMA_CONFIG_DIR")
    return path


def worktree_config_path(worktree_dir: Path) -> Path:
    """Return the path of a worktree's config file, there or not.

    Example:
        >>> worktree_config_path(Path("/runs/7")).as_posix()
        '/runs/7/.ama/config.toml'
    """
    return worktree_dir / CONTROL_DIRECTORY / CONFIG_FILE


def add_remote(
    path: Path, name: str, url: str, options: Mapping[str, config.Option] | None = None
) -> None:
    """Configure a remote. It becomes the default if that file has none yet.

    Args:
        path: The config file.
        name: The new remote's name.
        url: The remote's URL. A relative path starts at the working directory.
        options: The options of its client beside the URL, and ama's own; see
            `ama.storage.urls.open_storage`.

    Raises:
        AlreadyExists: That config file has a remote of that name.
        InvalidInput: The name or the URL is invalid, or an option is a credential.

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
        # Several remotes without a default have none: a single one stays the default.
        only = list({**remotes, **_remotes(user, Path())})
        config.set_value(path, "remote.default", only[0] if len(only) == 1 else name)


def remove_remote(path: Path, name: str) -> RemoteInfo:
    """Forget a remote. The content of its store stays.

    Args:
        path: The config file.
        name: The remote's name.

    Returns:
        The removed remote.

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
    """Give a configured remote another name; its settings stay, and it may be the default.

    Args:
        path: The config file.
        name: The remote's name.
        new: The remote's new name.

    Raises:
        NotFound: That config file has no remote of that name.
        AlreadyExists: It has a remote of the new name.
        InvalidInput: The new name is invalid.

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
    """Make a remote the default one.

    Args:
        path: The config file.
        name: A remote in that file, or in the user's own config file.
        environ: The environment with `AMA_CONFIG_DIR`; None: the process's own.

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
    """Set the URL of a remote in a config file; its other settings stay.

    Args:
        path: The config file.
        name: The remote's name; it needn't be there yet.
        url: The remote's URL. A relative path starts at the working directory.

    Raises:
        InvalidInput: The name or the URL is invalid, or doesn't go with the remote's options.

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

    default, options = settings.default_remote_name, settings.options
    return tuple(
        RemoteInfo(name=name, url=url, default=name == default, options=options.get(name, {}))
        for name, url in sorted(settings.remotes.items())
    )


def _users_file(environ: Mapping[str, str]) -> Path | None:
    directory = _directory("config", environ)
    return None if directory is None else directory / CONFIG_FILE


def _of_users_file(path: Path | None) -> dict[str, object]:
    """Return the content of the user's own config file; empty if there is none, or it is closed.

    As in git: a command with another user's rights may keep the first user's HOME.
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

    find: Callable[..., Path] = getattr(platformdirs, f"user_{kind}_path")
    try:
        return find("ama", appauthor=False)
    except RuntimeError:
        return None


def _content_directory(
    environ: Mapping[str, str],
    local_path: Path | None,
    local: Mapping[str, object],
    user_path: Path | None,
    user: Mapping[str, object],
) -> Path | None:
    """Return the directory of the content cache; a relative one begins where the remotes' do."""
    named = environ.get("AMA_CONTENT_DIR", "")
    if named:
        return Path(os.path.abspath(os.path.expanduser(named)))
    for path, data in ((local_path, local), (user_path, user)):
        text = _text(config.get(data, "cache.directory"))
        if text is not None and path is not None:
            return Path(os.path.abspath(_base(path) / os.path.expanduser(to_system(text))))
    cache = _directory("cache", environ)
    return None if cache is None else cache / "content"


def _content_size(environ: Mapping[str, str], *configs: Mapping[str, object]) -> int:
    named = from_system(environ.get("AMA_CACHE_SIZE", "")).strip()
    found = named or str(_first("cache.size", *configs, {"cache": {"size": CACHE_SIZE}}))
    return config.parse_size(found, "AMA_CACHE_SIZE" if named else "cache.size")


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
    """Return the start of relative paths in a config file: its worktree, or its directory."""
    return path.parent.parent if path.parent.name == CONTROL_DIRECTORY else path.parent


def _resolved(url: str, options: Mapping[str, config.Option], base: Path) -> _Configured:
    """Return the URL that identifies a remote's store, and its other settings."""
    clients, own = split_options(options)
    return _Configured(str(parse_url(_absolute(url, base), clients)), own)


def _require_free(name: str, remotes: Mapping[str, _Configured]) -> None:
    if name in remotes:
        raise AlreadyExists(
            f"remote '{name}' exists already: {shown(remotes[name].url)}",
            hint=(Hint("correct-remote", name=name), Hint("remove-remote", name=name)),
        )


def _absolute(url: str, base: Path) -> str:
    """Return a URL unchanged, and a path as an absolute one."""
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
    """Return the name (None: it is a URL) and the URL of a remote, as a user named it."""
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
    """Return the content of the user's own config file; empty if it is the given one."""
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
