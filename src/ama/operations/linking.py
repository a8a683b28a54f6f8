"""link: noting which assets the next one was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ama.errors import AmaError, InvalidInput, NotFound, shown
from ama.format.objects import Kind, RefLink, encode_asset
from ama.operations.editing import note
from ama.operations.session import Session
from ama.stores.revisions import find_alias
from ama.values import Ref
from ama.worktree.staging import Notes


def link(
    session: Session, name: str, label: str, class_name: str | None, *, alias: bool
) -> RefLink:
    """Note that the next asset was made from the one that a name means; return the link."""
    session.tree.require_settled()
    asset = find(session, name, class_name, alias=alias)
    session.require_live(asset)
    made = take(session, asset, label)
    note(session, lambda notes: replace(notes, refs=with_ref(notes.refs, made)))
    return made


def take_back(session: Session, refs: Sequence[Ref], name: str) -> Ref:
    """Take a noted link back, and return it."""
    gone = find_noted(session, refs, name)

    def change(notes: Notes) -> Notes:
        return replace(notes, refs=tuple(r for r in notes.refs if r.asset.hex() != gone.asset))

    note(session, change)
    return gone


def find(session: Session, name: str, class_name: str | None, *, alias: bool) -> bytes:
    """Return the id of an asset to link: by any of its names, else by an alias of any class.

    The store is asked: what this machine saw last may not be what the alias means now.

    Raises:
        NotFound: there is none.
        InvalidInput: several classes have the alias.
        StorageError: the store can't be reached.
    """
    _, head = session.tree.head.read()
    if name.startswith("@") and class_name is not None:
        name = class_name + name
    view = session.fresh_view(head)
    url = session.url(None, head)
    if view is not None and "@" not in name and (alias or class_name is not None):
        return find_alias(view, name, url, class_name)[1]
    plain = not any(mark in name for mark in "/@~") and name != "HEAD"
    if view is not None and plain and name not in view.class_names and not _is_id(name):
        return find_alias(view, name, url, or_class=True)[1]
    return session.resolve(name, fresh=True)


def _is_id(name: str) -> bool:
    return len(name) >= 7 and all(digit in "0123456789abcdefABCDEF" for digit in name)


def take(session: Session, asset: bytes, label: str) -> RefLink:
    """Return the link to an asset, whose record is kept here, for it goes along with a push."""
    _, head = session.tree.head.read()
    if asset == head.asset:
        # What HEAD is made of is its parent already, and says so in its history.
        raise InvalidInput("the next asset comes from HEAD anyway, and needs no link to it")
    found = session.sources().asset(asset)
    with session.tree.objects.writing() as writer:
        waiting = [asset]
        while waiting:
            at = waiting.pop()
            if at in session.tree.objects or at in writer:
                continue
            try:
                record = session.sources().asset(at)
            except AmaError:
                if at == asset:
                    raise
                continue
            writer.add(Kind.ASSET, at, encode_asset(record))
            waiting += [*(ref.asset for ref in record.refs), *record.parents]
    return RefLink(asset, found.class_name, label)


def with_ref(refs: Sequence[RefLink], link: RefLink) -> tuple[RefLink, ...]:
    """Return the refs with one more; a link to the same asset is replaced by it, but without a
    label it keeps the one that it had.
    """
    labels = [ref.label for ref in refs if ref.asset == link.asset] if not link.label else []
    made = replace(link, label=labels[0]) if labels else link
    return (*(ref for ref in refs if ref.asset != link.asset), made)


def find_noted(session: Session, refs: Sequence[Ref], name: str) -> Ref:
    """Return the noted link that a name means.

    Raises:
        NotFound: none does.
        InvalidInput: several do.
    """
    named = [
        ref
        for ref in refs
        if name in (ref.class_name, f"{ref.class_name}/{ref.number}", *ref.aliases)
        or (len(name) >= 7 and ref.asset.startswith(name.lower()))
    ]
    if not named and "@" in name:
        asset = session.resolve(name).hex()
        named = [ref for ref in refs if ref.asset == asset]
    if not named:
        raise NotFound(f"{shown(name)} is not linked", hint="see what is: ama ref list")
    if len(named) > 1:
        raise InvalidInput(
            f"{shown(name)} names several links: {', '.join(ref.name for ref in named)}",
            hint="give its id",
        )
    return named[0]
