"""upload, push and commit of a worktree."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from ama.errors import (
    AmaError,
    Conflict,
    Hint,
    IntegrityError,
    InvalidInput,
    NotFound,
    StorageError,
)
from ama.format.objects import Kind
from ama.operations.recording import recorded
from ama.operations.repairing import mend_log, repair_content
from ama.operations.rollback import keep_lost_files
from ama.operations.session import Session, now, settle
from ama.results import CommitResult, NoCode, UploadResult
from ama.storage.protocol import Storage
from ama.stores.creation import Unmade
from ama.stores.log_view import LogView, When
from ama.stores.remote import Remote
from ama.stores.revisions import Describer
from ama.system.encoding import from_system
from ama.system.git import Code
from ama.transfer import publish
from ama.transfer.log_repair import refuse_lost
from ama.transfer.publish import MOST_REMEMBERED, Found, Publication, Published, StagedContent, Who
from ama.values import AssetInfo, Ref
from ama.worktree.add import summary
from ama.worktree.head import At, Head, Unpublished
from ama.worktree.incoming import Incoming
from ama.worktree.staging import Index, Notes
from ama.worktree.status import WorktreeChanges, compare_worktree

MOST_LOOKED_AT = 100_000
"""The files to look at, about, for a remark on those that a new asset lacks."""


def commit(session: Session, message: str | None, code_dir: Path | None = None) -> CommitResult:
    """Make an asset of the staged files, store all content here, and move HEAD to the asset."""
    settle(session)
    tree = session.tree
    at = tree.head.read()
    head, index = at.head, tree.index.read()
    notes = with_message(index.notes_for(head), message)
    _require_added(session, head, index, notes, message, "committed")
    Incoming.give_up(tree)
    stored = cache(lambda: set(session.content.stored(head).values()))
    code = _code(session, code_dir)
    made = publish.commit(
        tree,
        at,
        index,
        notes,
        _who(session, code),
        waiting=[e for e in session.content.unstored(head, index.entries) if e.id not in stored()],
        progress=session.progress,
    )
    session.content.forget()
    asset = made or head.asset
    if asset is None:
        raise InvalidInput("nothing is staged", hint=Hint("stage-files"))
    describer = session.stores.describer(head, When.LAST_SEEN)
    info = session.content.info(asset, describer)
    waiting = {commit.asset: commit.aliases for commit in tree.head.read().head.unpublished}
    store = session.stores.last_seen(head)
    seen = store.view() if store else None
    same = _same_here(session, store, seen, made) if made and store and seen else ()
    left = _left_out(session, index)
    return CommitResult(
        info,
        made is not None,
        waiting.get(asset, ()),
        tuple(change.path for change in left.changed),
        same,
        _unlinked(session, head, made),
        no_code=_no_code(notes, made, code),
        untracked=left.untracked,
        looked_at_all=left.whole,
    )


def upload(
    session: Session,
    remote: str | None,
    message: str | None,
    *,
    new_store: bool = False,
    code_dir: Path | None = None,
    once: bool = False,
) -> UploadResult:
    """Make an asset of the staged files, if they are new, and publish it with its ancestors.

    With `once`, use an equal asset of the store instead, unless commits wait here.
    """
    settle(session, publishes=True)
    tree = session.tree
    at = tree.head.read()
    head, index = at.head, tree.index.read()
    notes = with_message(index.notes_for(head), message)
    _require_added(session, head, index, notes, message, "published")
    Incoming.give_up(tree)
    code = _code(session, code_dir)
    made, entries = publish.make_asset(tree, head, index, notes, _who(session, code))
    tip = made or head.asset
    if tip is None:
        raise InvalidInput("nothing is staged", hint=Hint("stage-files"))
    session.content.forget()
    named = (Unpublished(tip, notes.aliases),) if notes.aliases else ()
    waiting = (*head.unpublished, *named)
    wanted = Publication(tip, waiting, once=once and made is not None and not head.unpublished)
    try:
        result = _publish(session, remote, at, wanted, index, new_store=new_store)
    except Found as found:
        made, tip = tip, found.asset
        latest = tree.head.read()  # the claim for the losing entry has given it a new generation
        at = latest if latest.head == head else at
        # HEAD's asset must be stored here, whatever becomes of the store; its trees were just made.
        with tree.objects.writing() as writer:
            writer.add(Kind.ASSET, tip, found.data)
        session.content.forget()
        waiting = (Unpublished(tip, notes.aliases),) if notes.aliases else ()
        wanted = Publication(tip, waiting, made=made)
        result = _publish(session, remote, at, wanted, index, new_store=new_store)
        result, made = replace(result, again=True), None
    tree.index.update(lambda latest: latest.known_as(tip, entries))
    left = _left_out(session, index)
    return replace(
        result,
        not_added=tuple(change.path for change in left.changed),
        untracked=left.untracked,
        looked_at_all=left.whole,
        unlinked=_unlinked(session, head, made),
        no_code=_no_code(notes, made, code),
    )


def _code(session: Session, directory: Path | None) -> Callable[[], Code]:
    """Return a function that describes the code in a directory, reading it at most once."""
    directory = session.settings.code_directory(directory)
    return cache(lambda: session.settings.code(directory))


def _who(session: Session, code: Callable[[], Code] | None = None) -> Who:
    """Return the author, the clock and the code facts of a publication."""
    facts = (lambda: code().facts) if code else dict
    extra = partial(recorded, session.settings, run=False)
    return Who(session.settings.author(), now, facts, extra)


def _no_code(notes: Notes, made: bytes | None, code: Callable[[], Code]) -> NoCode | None:
    """Return why a new asset does not name its code; None if it does."""
    if made is None or "git.commit" in notes.metadata:
        return None
    found = code()
    if not (found.missing and found.directory):
        return None
    return NoCode(found.missing, from_system(found.directory))


def _unlinked(session: Session, head: Head, made: bytes | None) -> tuple[Ref, ...]:
    """Return the refs of a new asset's parent, if the new asset has none."""
    with suppress(AmaError):  # the work is done, and this is only a remark
        if made and head.asset and not session.content.sources().asset(made).refs:
            before = session.content.sources().asset(head.asset).refs
            return session.stores.describer(head, When.LAST_SEEN).refs(before) if before else ()
    return ()


def _require_added(
    session: Session, head: Head, index: Index, notes: Notes, message: str | None, done: str
) -> None:
    """Check that the user has not forgotten `add`.

    Raises:
        Conflict: Only the message is new, but files here differ from what is staged.
    """
    if message is None or notes != Notes(message=message) or index.tree_of != head.asset:
        return
    changed = [change.path for change in _left_out(session, index).changed]
    if changed:
        raise Conflict(
            f"nothing is staged, and {summary(changed)}"
            f" {'is not as it was' if len(changed) == 1 else 'are not as they were'} added, so"
            f" nothing was {done}",
            hint=Hint("stage-it", paths=session.tree.typed(changed)),
        )


def _left_out(session: Session, index: Index) -> WorktreeChanges:
    """Return the files that the new asset lacks: changed since `add`, or never added.

    Of very many files, only the first are looked at: to look at all may take longer than the work.
    """
    with suppress(AmaError):  # the work is done, and this is only a remark
        return compare_worktree(session.tree, index, MOST_LOOKED_AT)
    return WorktreeChanges((), ())


def push(
    session: Session,
    remote: str | None,
    *,
    new_store: bool = False,
    repair: bool = False,
    materialize: bool = False,
) -> UploadResult:
    """Publish unpublished commits; with `repair`, restore what the store has lost of them; with
    `materialize`, send what it has only by reference.
    """
    if not repair or new_store:
        return _push(session, remote, new_store=new_store, repair=repair, materialize=materialize)
    head = session.tree.head.read().head
    url = session.stores.url(remote or None, head)
    # Repair the log first: without it, nothing of the store can be read.
    mended = mend_log(session, url, head)
    try:
        # A repair makes no store: a URL with a slip in it would get one.
        store = session.stores.open(url)
        if head.asset is None:
            store.view().require_whole()
            result = UploadResult(None, (), (), url, 0, 0, False, False)
        else:
            result = _push(
                session, remote, new_store=new_store, repair=repair, materialize=materialize
            )
    except IntegrityError:
        refuse_lost(mended, url)
        raise
    refuse_lost(mended, url)
    return replace(result, put_back=mended.done)


def _push(
    session: Session, remote: str | None, *, new_store: bool, repair: bool, materialize: bool
) -> UploadResult:
    settle(session, publishes=True)
    at = session.tree.head.read()
    head = at.head
    if head.asset is None:
        raise InvalidInput(
            f"no asset of {head.class_name} was made here yet",
            hint=Hint("make-one"),
        )
    tip = head.asset
    sent = objects = 0
    if repair and not new_store:
        # Content of a lost index can't be read, and nothing can be published on top of it.
        sent, objects = repair_content(session, remote, at, tip, lost_only=True)
    wanted = Publication(tip, head.unpublished, bring=materialize)
    result = _publish(session, remote, at, wanted, new_store=new_store)
    if not (repair or materialize):
        return result
    more = repair_content(session, remote, at, tip, bring=materialize)
    return replace(
        result, bytes_sent=sent + more[0] + result.bytes_sent, repaired=objects + more[1]
    )


def _publish(
    session: Session,
    remote: str | None,
    at: At,
    wanted: Publication,
    index: Index | None = None,
    *,
    new_store: bool,
) -> UploadResult:
    """Publish assets; with an index, read content that is stored nowhere yet from its files."""
    tree, head, tip = session.tree, at.head, wanted.tip
    url = session.stores.url(remote or None, head)
    session.stores.forget(url)
    used = index.notes_for(head) if index else Notes()
    if tip == head.asset and not (wanted.aliases or new_store or used):
        storage = session.stores.storage(url)
        view = _where_published(session, storage, head)
        if view is not None:
            return _result(session, Published((), (), view, 0, 0), storage.url, tip, head.alias)
    store = session.stores.prepare(url, new_store=new_store)
    unmade = store.storage if isinstance(store.storage, Unmade) else None
    here = _from_worktree(session, head, index) if index else {}
    if index is None:
        keep_lost_files(session, head)
    try:
        done = publish.publish(
            tree,
            store,
            at,
            replace(wanted, here=here, used=used),
            session.content.sources(),
            _who(session),
            session.progress,
        )
    except NotFound as error:
        raise NotFound(
            f"{error.message}, and {head.class_name} here came from it",
            hint=Hint("begin-without-it", class_name=head.class_name),
        ) from error
    except StorageError as error:
        if not new_store or error.errno != errno.ENOENT:
            raise
        raise NotFound(
            f"what {head.class_name} here came from is only in a store that is gone",
            hint=Hint("begin-in-new-store", class_name=head.class_name),
        ) from error
    except (Conflict, IntegrityError):
        # Another process may have created the store: its log does not follow our format.json.
        if unmade is None or not unmade.is_overtaken():
            raise
        # Both created it at the same time, and nothing was sent yet: publish to the other's store.
        session.content.forget()
        return _publish(session, remote, at, wanted, index, new_store=False)
    session.content.forget()
    session.stores.saw(store.url, done.view)
    result = _result(session, done, store.url, tip, head.alias)
    result = replace(result, elsewhere=_elsewhere(session, head, result.published))
    compared = tip in done.assets and tip not in done.new_trees
    same = _same_there(session, store, done.view, tip) if compared else ()
    return replace(result, store_created=unmade is not None and unmade.made, same=same)


def _from_worktree(session: Session, head: Head, index: Index) -> StagedContent:
    """Return the content to read from the worktree."""
    stored = cache(lambda: set(session.content.stored(head).values()))
    new = session.content.unstored(head, index.entries)
    return StagedContent(session.tree, index, new, lambda content: content in stored())


def _elsewhere(session: Session, head: Head, published: Sequence[AssetInfo]) -> dict[str, str]:
    """Return for each ref that the remote lacks a known store that has it, by asset id."""
    found: dict[str, str] = {}
    places = session.stores.urls(head)
    for ref in (ref for asset in published for ref in asset.refs if ref.number is None):
        for url in places:
            state = session.stores.known_class(url, ref.class_name)
            if state is not None and state.number(bytes.fromhex(ref.asset)) is not None:
                found.setdefault(ref.asset, url)
    return found


def _same_there(
    session: Session, store: Remote, view: LogView, tip: bytes
) -> tuple[AssetInfo, ...]:
    """Return the other assets of a class with the same tree as one just published.

    Search the assets that this machine has cached. If none matches, ask the store.
    """
    found = _same_here(session, store, view, tip)
    if found:
        return found
    asset = session.content.sources().asset(tip)
    newest = view.class_state(asset.class_name).assets[: -MOST_REMEMBERED - 1 : -1]
    with suppress(AmaError):  # the work is done, and this is only a remark
        store.assets(view, [(asset.class_name, record.id) for record in newest])
    return _same_here(session, store, view, tip)


def _same_here(session: Session, store: Remote, view: LogView, tip: bytes) -> tuple[AssetInfo, ...]:
    """Return the other assets of a class with the same tree, among those cached here."""
    asset, describer = session.content.sources().asset(tip), Describer(view)
    return tuple(
        describer.info(other, found)
        for other, found in store.remembered_assets(view, asset.class_name, MOST_REMEMBERED)
        if found.tree == asset.tree and other != tip
    )


def _where_published(session: Session, storage: Storage, head: Head) -> LogView | None:
    """Return a store's log if it has HEAD's asset, and has not changed since it was last seen.

    Then an upload has nothing to do, and costs only the two requests of this check.
    """
    if head.asset is None or head.origin != storage.url or head.unpublished:
        return None
    remote = Remote.last_seen(storage, session.settings.cache_dir, session.settings.reach)
    view = remote.view() if remote else None
    if remote is None or view is None or not remote.log.ends_as(view):
        return None
    return view if view.class_state(head.class_name).number(head.asset) else None


def _result(
    session: Session, done: Published, url: str, tip: bytes, followed: str | None
) -> UploadResult:
    describer = Describer(done.view)
    published = tuple(session.content.info(asset, describer) for asset in done.assets)
    before = (
        describer.ref(bytes.fromhex(parent), asset.class_name, "")
        for asset in published
        for parent in asset.parents
        if bytes.fromhex(parent) not in done.assets
    )
    default = session.settings.default_store
    return UploadResult(
        asset=session.content.info(tip, describer),
        published=published,
        aliases=done.aliases,
        remote=url,
        bytes_sent=done.bytes_sent,
        bytes_reused=done.bytes_reused,
        store_created=False,
        local_default=session.settings.default_remote is None and url == default,
        follows=session.tree.head.read().head.alias,
        followed=followed,
        left_behind=tuple(ref for ref in before if ref.aliases),
    )


def with_message(notes: Notes, message: str | None) -> Notes:
    """Return the notes with a given message, which replaces a noted one."""
    return notes if message is None else replace(notes, message=message)
