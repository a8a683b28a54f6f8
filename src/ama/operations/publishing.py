"""publish: files straight to a store, without a worktree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

from ama.errors import Conflict, IntegrityError, InvalidInput
from ama.format.names import check_alias, check_class
from ama.format.objects import RefLink, check_metadata, check_text
from ama.operations.recording import recorded
from ama.operations.session import now, plain
from ama.results import NoCode, UploadResult
from ama.settings import Settings
from ama.stores.creation import Unmade, prepare
from ama.stores.remote import Remote
from ama.stores.revisions import Describer
from ama.system.encoding import from_system, to_system
from ama.system.git import Code
from ama.system.progress import Progress
from ama.transfer.publish import Published, Who
from ama.transfer.publish_files import Description, publish_files
from ama.values import Scalar
from ama.worktree.given import GivenFiles, Listing, PathLike, Source, listed


def described(
    class_name: str,
    aliases: Iterable[str],
    metadata: Mapping[str, Scalar],
    message: str | None,
    refs: Mapping[str, str],
    find: Callable[[str], tuple[str, bytes]],
) -> Description:
    """Return what an asset will say of itself, checked.

    Args:
        class_name: Its class.
        aliases: The aliases that it gets.
        metadata: Its metadata.
        message: Why it was made.
        refs: What it was made from: labels by the names of assets.
        find: A function that returns the class and id of the asset that a name means.

    Raises:
        InvalidInput: A name or a value can't be in an asset.
        NotFound: There is no such asset to link.
    """
    check_class(class_name)
    for alias in (aliases := tuple(dict.fromkeys(aliases))):
        check_alias(alias)
    if not isinstance(metadata, Mapping):
        raise InvalidInput(
            f"metadata are values by their names, not of type {type(metadata).__name__}"
        )
    metadata = {key: plain(value) for key, value in metadata.items()}
    for key, value in metadata.items():
        check_metadata(key, value)
    links: dict[bytes, RefLink] = {}
    for name, label in refs.items():
        found_class, asset = find(name)
        check_text("label", label)
        links[asset] = RefLink(asset, found_class, label)
    return Description(class_name, aliases, tuple(links.values()), message or "", metadata)


def look_at(
    remote: Remote,
    settings: Settings,
    files: Iterable[PathLike] | Mapping[str, Source],
    *,
    force: bool,
) -> Listing:
    """Look at the files for an asset of a store, without reading them; see `Store.publish`."""
    store = None if "://" in remote.url else Path(to_system(remote.url))
    return listed(files, store=store, portable=settings.portable_names, force=force)


def publish(
    remote: Remote,
    settings: Settings,
    given: GivenFiles,
    said: Description,
    *,
    once: bool,
    code_dir: Path | None,
    environment: bool,
    progress: Progress,
) -> UploadResult:
    """Publish files as an asset; see `Store.publish`."""
    directory = settings.code_directory(code_dir)
    code: Callable[[], Code] = cache(lambda: settings.for_script().code(directory))
    extra = cache(lambda: recorded(settings, run=True, environment=environment))
    who = Who(settings.author(), now, lambda: code().facts, extra)
    try:
        asset, size, done = publish_files(remote, given, said, who, once=once, progress=progress)
    except (Conflict, IntegrityError):
        # Another process may have made the store: its log does not follow our format.json.
        unmade = remote.storage
        if not (isinstance(unmade, Unmade) and unmade.is_overtaken()):
            raise
        remote = prepare(unmade.inner, settings)
        asset, size, done = publish_files(remote, given, said, who, once=once, progress=progress)
    record = remote.assets(done.view, [(said.class_name, asset)])[asset]
    found = Describer(done.view).info(asset, record, size)
    return UploadResult(
        asset=found,
        published=(found,) if done.assets else (),
        aliases=done.aliases,
        remote=remote.url,
        bytes_sent=done.bytes_sent,
        bytes_reused=done.bytes_reused,
        store_created=isinstance(remote.storage, Unmade) and remote.storage.made,
        local_default=settings.default_remote is None and remote.url == settings.default_store,
        no_code=_no_code(done, code) if "git.commit" not in said.metadata else None,
        again=not done.assets,
    )


def _no_code(done: Published, code: Callable[[], Code]) -> NoCode | None:
    """Return why a new asset does not name its code; None if it does."""
    found = code() if done.assets else None
    if found is None or not (found.missing and found.directory):
        return None
    return NoCode(found.missing, from_system(found.directory))
