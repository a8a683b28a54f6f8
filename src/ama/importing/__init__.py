"""Bringing in what is there: archives, directories and files elsewhere become assets.

A *source* is one file or directory at a path or URL. A *rule* says which of its *members* become an
asset, and what that asset says of itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ama.errors import InvalidInput
from ama.format.names import check_class
from ama.importing.by_reference import by_reference as staying
from ama.importing.importer import Choice, import_from
from ama.importing.listing import list_sources
from ama.importing.rules import AssetRule, Rules, check_texts, load_rules
from ama.importing.tools import Tool, list_from
from ama.notebook import progress_here
from ama.publication import prepared
from ama.results import ImportResult
from ama.settings import Settings
from ama.storage.protocol import Storage
from ama.storage.urls import open_storage
from ama.store import Store
from ama.system.encoding import given
from ama.system.progress import Progress
from ama.transfer.places import require_references

if TYPE_CHECKING:
    from concurrent.futures import Executor


def import_assets(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    class_name: str | None = None,
    *,
    tool: Tool | None = None,
    store: str | os.PathLike[str] | Store | None = None,
    rules: str | None = None,
    alias: str | None = None,
    dry_run: bool = False,
    strict: bool = False,
    again: bool = False,
    force: bool = False,
    by_reference: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> ImportResult:
    """Bring in archives, directories and files as assets.

    An archive (zip, tar, tar.gz, tar.bz2, tar.xz, tar.zst) becomes what is in it. An asset was made
    when its source was written, unless rules say otherwise; and it is noted of it from which source
    it came. Called again, it reads only sources that are new or were written again. A source that
    can't be imported is passed over.

    Args:
        sources: Paths and URLs; a glob stands for all that fits it, `**` crosses directories.
        class_name: The class of the assets, one a source.
        tool: The tool whose repositories the sources are, instead of a class: "hf" for caches of
            Hugging Face and folders with a model card; "mlflow" for servers, directories and SQLite
            files; "dvc" for repositories. It says classes, aliases and links.
        store: The store, or its URL or the name of a configured remote; by default the configured
            one. If there is none, it is made.
        rules: TOML that says which members of a source become which assets, instead of a class.
        alias: The alias of each asset; `{name}` stands for the source's name without its suffix.
        dry_run: Whether to publish nothing, and only return what would become what.
        strict: Whether the first source that can't be imported ends it.
        again: Whether to read also what was imported before and has not changed.
        force: Whether to take files that look like secrets.
        by_reference: Whether content stays where it is: the store keeps where each file lies. What
            is small, and documents of at most 64 KiB, are stored nevertheless.
        executor: What reads the sources, such as a `ProcessPoolExecutor`, or Dask's
            `client.get_executor()`: its workers send content, and one entry after the other is
            published here. They need the same settings and logins. By default, this process reads.
        progress: The progress of the bytes of the sources.

    Raises:
        NotFound: Nothing is there.
        InvalidInput: The rules are none; the store takes no notes, or no content by reference,
            before its `upgrade`; or, with `strict`, a source can't be imported.
        StorageError: The store or a listing can't be reached.

    Example:
        >>> import ama, zipfile
        >>> with zipfile.ZipFile("run-7.zip", "w") as made:
        ...     made.writestr("model.yml", "layers: 3")
        >>> result = ama.import_assets("run-*.zip", "models", store="./store", alias="{name}")
        >>> [asset.alias for asset in result.assets]
        ['run-7']
        >>> ama.import_assets("run-*.zip", "models", store="./store").assets
        ()
    """
    if tool is not None and not (class_name is rules is alias is None):
        raise InvalidInput("the tool says classes and aliases itself")
    said = None if tool is not None else _rules(class_name, rules, alias)
    places = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    if not places:
        raise InvalidInput("no source is given")
    if not isinstance(store, Store):
        settings = Settings.load(None)
        url = settings.remote_url(None if store is None else given(store))
        store = prepared(url, settings, progress_here(None))
    settings = store.settings

    def open_at(url: str) -> Storage:
        return open_storage(url, settings.options_at(url))

    named = [given(place) for place in places]
    if said is None:
        assert tool is not None
        found = list_from(tool, named, settings, force=force)
    else:
        found = list_sources(named, said, open_at, portable=settings.portable_names, force=force)
    if by_reference:
        require_references(store.remote.view().root.read_features, store.url)
        found = staying(found, store.remote.references.outside, force=force)
    choice = Choice(dry_run, strict, again, force)
    return import_from(store, found, choice, progress or progress_here(None), executor)


def _rules(class_name: str | None, rules: str | None, alias: str | None) -> Rules:
    if rules is not None:
        if class_name is not None or alias is not None:
            raise InvalidInput("rules say classes and aliases themselves")
        return load_rules(rules)
    if class_name is None:
        raise InvalidInput("neither a class nor rules are given")
    rule = AssetRule(check_class(class_name), alias=alias)
    check_texts(rule)
    return Rules((rule,))
