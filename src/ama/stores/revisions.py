"""Names of assets: what each means in a store, and how an asset is described by them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, NoReturn

from ama.errors import AmaError, Conflict, Hint, InvalidInput, NotFound, shown
from ama.format.hashing import SHORTEST_PREFIX, short
from ama.format.names import check_alias, check_class, nearest
from ama.format.notes import noted
from ama.format.objects import Asset, RefLink
from ama.format.recorded import run_of
from ama.lineage import ancestry
from ama.stores.log_view import LogView
from ama.system.encoding import require_text
from ama.values import AliasMove, AssetInfo, File, Note, Noted, Ref, display_name

if TYPE_CHECKING:
    from ama.format.entries import StatusName
    from ama.format.notes import NoteRecord
    from ama.format.state import AliasRecord, AssetRecord
    from ama.stores.class_view import ClassView
    from ama.stores.log_view import LogView


_HEX = re.compile(rf"[0-9a-fA-F]{{{SHORTEST_PREFIX},64}}")
_SHORT_HEX = re.compile(rf"[0-9a-fA-F]{{4,{SHORTEST_PREFIX - 1}}}").fullmatch
_SHORT_DIGITS = re.compile(rf"[0-9]{{1,{SHORTEST_PREFIX - 1}}}").fullmatch
_NUMBER = re.compile(r"[0-9]{1,18}").fullmatch
# Assets as printed: the id in brackets, and their aliases, now or once.
_PRINTED = re.compile(
    rf"(?=[^ ]+ )(?P<name>[^\s@~]+)(?: \((?P<id>[0-9a-fA-F]{{{SHORTEST_PREFIX},64}})\))?"
    r"(?:,? @[A-Za-z0-9][A-Za-z0-9._-]{0,99})*"
).fullmatch
_URL = "ama://"
_INSIDE = re.compile(
    r"(?P<asset>[^/@:]+(?:@[^/:@]+|/[0-9]+(?:~[0-9]*)?))(?P<sign>[:/])(?P<path>.+)"
)
_CARETS = re.compile(r"([^~^]+)(\^+)").fullmatch
ReadAsset = Callable[[bytes], Asset]
FORMS = "CLASS/NUMBER, CLASS@ALIAS, CLASS, an id's first 7 or more hex digits, or HEAD"


@dataclass(frozen=True, slots=True)
class Revision:
    """A parsed name. `back` is how many parents to go back from the rest of the name.

    With a class or a number beside it, `prefix` must be that of an asset with those.
    """

    class_name: str | None = None
    number: int | None = None
    alias: str | None = None
    prefix: str | None = None
    head: bool = False
    back: int = 0

    @property
    def is_class(self) -> bool:
        """Whether it is only a class, whose meaning changes with each new asset."""
        return self == Revision(self.class_name) and self.class_name is not None


def parse_revision(text: str, own_class: str | None = None) -> Revision:
    """Parse a name.

    Args:
        text: The name.
        own_class: The class for `@best` alone; None: there is none.

    Raises:
        InvalidInput: It has none of the forms.

    Example:
        >>> parse_revision("models/7~2").number
        7
        >>> parse_revision("models/7 (3f9a2c41d0) @best").prefix
        '3f9a2c41d0'
    """
    if not isinstance(text, str):
        raise InvalidInput(f"{shown(repr(text))} names no asset", hint=f"use a text: {FORMS}")
    _require_no_file(text)
    if carets := _CARETS(text):
        _refuse(text, f"{carets[1]}~{len(carets[2])}")
    name, tilde, count = text.partition("~")
    if tilde and not (count.isascii() and (count.isdigit() or not count)):
        first, dots, last = text.partition("..")
        raise InvalidInput(
            f"'{shown(text)}': after ~ stands how many parents to go back",
            hint=f"two assets are two words: {shown(first)} {shown(last)}" if dots else None,
        )
    back = (int(count) if count else 1) if tilde else 0
    if printed := _PRINTED(name):
        return _as_printed(text, printed, back)
    if name == "HEAD":
        return Revision(head=True, back=back)
    if _HEX.fullmatch(name):
        return Revision(prefix=name.lower(), back=back)
    if "@" in name:
        class_name, _, alias = name.partition("@")
        class_name = class_name or own_class or ""
        if not class_name:
            raise InvalidInput(
                f"'{shown(text)}' names no class, and there is no worktree here that has one",
                hint=f"write CLASS{shown(text)}",
            )
        if _NUMBER(alias):
            _refuse(text, f"{class_name}/{alias}")
        return Revision(check_class(class_name), alias=check_alias(alias), back=back)
    if "/" in name:
        class_name, _, number = name.rpartition("/")
        if not _NUMBER(number):
            _refuse(text, f"{class_name}@{number}")
        return Revision(check_class(class_name), number=int(number), back=back)
    return Revision(check_class(name), back=back)


def _as_printed(text: str, printed: re.Match[str], back: int) -> Revision:
    """Return the revision of a printed name: its aliases may have moved, its id never does."""
    named = parse_revision(printed["name"])
    if named.class_name is None or named.alias or not (printed["id"] or named.number is not None):
        _refuse(text, printed["name"])
    prefix = printed["id"].lower() if printed["id"] else None
    return replace(named, prefix=prefix, back=back)


def _require_no_file(text: str) -> None:
    """Refuse the URL of an asset, and a file of an asset, where an asset is meant."""
    inside = _INSIDE.fullmatch(text.removeprefix(_URL))
    if inside is not None:
        asset = shown(inside["asset"])
        hint = f"the asset is {asset}"
        if inside["sign"] == "/":
            hint = f"a file is ASSET:PATH: {asset}:{shown(inside['path'])}; {hint}"
        raise InvalidInput(f"'{shown(text)}' names a file of an asset, not an asset", hint=hint)
    if text.startswith(_URL):
        _refuse(text, text.removeprefix(_URL))


def _refuse(text: str, meant: str) -> NoReturn:
    """Refuse a name of none of the forms, and suggest what it may mean."""
    hint = f"use {FORMS}"
    with suppress(InvalidInput):
        parse_revision(meant)
        hint = f"did you mean {meant}? {hint}"
    raise InvalidInput(f"'{shown(text)}' names no asset", hint=hint)


def find_asset(
    view: LogView, revision: Revision, url: str, class_name: str | None = None
) -> tuple[str, bytes]:
    """Return the class and id of the asset that a name (without its `~N`) means in a store.

    Args:
        view: The store's log.
        revision: The name; not HEAD.
        url: The store's URL, for errors.
        class_name: The class that the asset must have; None: any.

    Raises:
        NotFound: Nothing has that name; the hint has suggestions.
        InvalidInput: Several assets have this prefix of an id.
        Conflict: The number and the id belong to different assets.
        IntegrityError: The log is damaged, and the name's meaning depends on the damaged part.
    """
    if revision.prefix is not None:
        in_class = revision.class_name or class_name
        found = _by_prefix(view, revision.prefix, url, in_class)
        _check_number(view, revision, found, url)
        return found
    state = _named_class(view, revision, url, class_name)
    if revision.number is not None:
        record = state.record(revision.number)
        if record is None:
            view.require_whole()
            raise NotFound(
                f"{state.name} has no asset {revision.number}; its newest is"
                f" {state.name}/{state.count}",
                hint=Hint("list-all-of", class_name=state.name),
            )
        return state.name, record.id
    # An alias, or the newest asset: a later entry may change the meaning.
    view.require_whole()
    if revision.alias is not None:
        target = state.target(revision.alias)
        if target is None:
            raise unknown_alias(state, revision.alias, _elsewhere(view, revision.alias))
        return state.name, target
    newest = state.newest_live()
    if newest is None and state.count:
        raise NotFound(
            f"all assets of {state.name} were deleted",
            hint=Hint("log-of-deleted", class_name=state.name),
        )
    if newest is None:
        raise NotFound(f"{state.name} has no asset", hint=Hint("list-classes"))
    return state.name, newest.id


def _check_number(view: LogView, revision: Revision, found: tuple[str, bytes], url: str) -> None:
    """Refuse an id beside another asset's number: it was printed for another store."""
    class_name, asset = found
    number = view.class_state(class_name).number(asset)
    if revision.number not in (None, number):
        raise Conflict(
            f"{short(asset)} is {class_name}/{number} in {url}, not {class_name}/{revision.number}",
            hint=f"numbers are a store's own; name it by its id alone: {short(asset)}",
        )


def _named_class(view: LogView, revision: Revision, url: str, class_name: str | None) -> ClassView:
    name = revision.class_name or class_name or ""
    try:
        return class_state(view, name, url)
    except NotFound as error:
        if revision.alias is not None and (others := _elsewhere(view, revision.alias)):
            hint = Hint("did-you-mean", names=tuple(others[:3]))
            raise NotFound(error.message, hint=hint) from None
        if not _SHORT_DIGITS(name) or revision != Revision(name, back=revision.back):
            raise
        # It is hardly a class, but an id or a number.
        raise NotFound(
            f"{name} names no asset in {url}: before a number stands its class, and an id has"
            f" {SHORTEST_PREFIX} digits or more",
            hint=error.hints,
        ) from None


def class_state(view: LogView, name: str, url: str) -> ClassView:
    """Return the state of an existing class.

    Raises:
        NotFound: The store has no such class; the hint has suggestions.
    """
    require_text("a class's name", name)
    if name in view.class_names:
        return view.class_state(name)
    view.require_whole()
    near = nearest(name, view.class_names)
    with suppress(AmaError):  # the classes' aliases and assets can't be read
        near = _meant(view.class_states(), name)
    hint = Hint("did-you-mean", names=tuple(near)) if near else Hint("list-classes")
    if _SHORT_HEX(name) and near:
        hint = Hint("did-you-mean-or-id", names=tuple(near), digits=SHORTEST_PREFIX)
    raise NotFound(f"there is no class {shown(name)} in {url}", hint=hint)


def _meant(states: Mapping[str, ClassView], word: str) -> list[str]:
    """Return suggestions for an unknown class: at most three names."""
    found = _called(states, word)
    if _NUMBER(word):
        found += [f"{name}/{word}" for name, state in states.items() if state.record(int(word))]
    if _SHORT_HEX(word):
        found += [
            display_name(name, number, record.id.hex())
            for name, state in states.items()
            for number, record in state.with_prefix(word.lower())
        ]
    return (found or [*nearest(word, states), *_near_aliases(states, word)])[:3]


def _elsewhere(view: LogView, alias: str) -> list[str]:
    with suppress(AmaError):  # the classes' aliases can't be read
        return _called(_with_alias(view, alias), alias)
    return []


def _with_alias(view: LogView, alias: str) -> Mapping[str, ClassView]:
    """Return all classes, in which an alias is going to be looked up."""
    states = view.class_states()
    view.load([part for state in states.values() for part in state.parts_of_alias(alias)])
    return states


def _called(states: Mapping[str, ClassView], alias: str) -> list[str]:
    """Return an alias with each class that has it."""
    return [f"{name}@{alias}" for name, state in states.items() if state.target(alias) is not None]


def _near_aliases(states: Mapping[str, ClassView], word: str) -> list[str]:
    """Return the nearest aliases of all classes, each with its class."""
    known: dict[str, str] = {}
    for name, state in states.items():
        for alias in state.alias_names():
            known.setdefault(alias, f"{name}@{alias}")
    return [known[alias] for alias in nearest(word, known)]


def go_back(name: str, found: tuple[str, bytes], back: int, read: ReadAsset) -> tuple[str, bytes]:
    """Return the class and id of the asset that a name means with its `~N`.

    Args:
        name: The whole name, for errors.
        found: Class and id of the asset that it means without.
        back: How many first parents to go back from it.
        read: Returns an asset object.

    Raises:
        NotFound: There are fewer parents.
    """
    if not back:
        return found
    history = ancestry(found[1], lambda asset: read(asset).parents)
    asset = next(islice(history, back, None), None)
    if asset is None:
        raise NotFound(
            f"{shown(name)} goes back further than there are parents",
            hint=Hint("log-of", asset=name.partition("~")[0]),
        )
    return read(asset).class_name, asset


def require_live(view: LogView, class_name: str, asset: bytes, url: str) -> None:
    """Refuse a deleted asset: its record exists, but its content is not available.

    Args:
        view: The store's log.
        class_name: The asset's class.
        asset: Its id; an asset that isn't published there is not refused.
        url: The store's URL, for errors.

    Raises:
        NotFound: The asset was deleted.
    """
    state = view.class_state(class_name)
    record = state.find(asset)
    if record is None or record.status != "deleted":
        return
    number = state.number(asset)
    reason = f": {shown(record.reason)}" if record.reason else ""
    raise NotFound(
        f"{class_name}/{number} was deleted from {url}{reason}",
        hint=(
            Hint("list-class", class_name=class_name),
            Hint("undelete", asset=f"{class_name}/{number}"),
        ),
    )


def unknown_alias(state: ClassView, alias: str, elsewhere: Sequence[str] = ()) -> NotFound:
    """Return the error for an alias that a class doesn't have.

    Args:
        state: The class.
        alias: The alias.
        elsewhere: The same alias in other classes.
    """
    near = elsewhere[:3] or nearest(alias, state.alias_names())
    hint = (
        Hint("did-you-mean", names=tuple(near))
        if near
        else Hint("list-aliases-of", class_name=state.name)
    )
    return NotFound(f"{state.name} has no alias {shown(alias)}", hint=hint)


def find_alias(
    view: LogView, alias: str, url: str, class_name: str | None = None, *, or_class: bool = False
) -> tuple[str, bytes]:
    """Return the class and id of an alias's asset, searching every class if none is given.

    Args:
        view: The store's log.
        alias: The alias.
        url: The store's URL, for errors.
        class_name: The class; None: every class.
        or_class: Whether the name may be a class too, which the hint then suggests.

    Raises:
        NotFound: No class has the alias.
        InvalidInput: Several classes have the alias.
    """
    require_text("an alias", alias)
    view.require_whole()
    if class_name is not None:
        revision = Revision(class_name, alias=check_alias(alias))
        return find_asset(view, revision, url)
    states = _with_alias(view, alias)
    found = [(name, state.target(alias)) for name, state in states.items()]
    having = [(name, target) for name, target in found if target is not None]
    if len(having) > 1:
        names = ", ".join(f"{name}@{alias}" for name, _ in having)
        raise InvalidInput(
            f"several classes have an alias {shown(alias)}: {names}",
            hint=Hint("say-class", class_name=having[0][0]),
        )
    if not having:
        near = _meant(states, alias) if or_class else _near_aliases(states, alias)
        hint = Hint("did-you-mean", names=tuple(near)) if near else Hint("list-aliases")
        raise NotFound(f"no class in {url} has an alias {shown(alias)}", hint=hint)
    return having[0][0], having[0][1] or b""


def _by_prefix(view: LogView, prefix: str, url: str, class_name: str | None) -> tuple[str, bytes]:
    states = view.class_states(view.class_names if class_name is None else [class_name])
    view.load([part for state in states.values() for part in state.parts_of_prefix(prefix)])
    found = [
        (name, record.id, number)
        for name, state in states.items()
        for number, record in state.with_prefix(prefix)
    ]
    if len(found) > 1:
        listed = ", ".join(f"{name}/{number} ({short(i)})" for name, i, number in found[:8])
        raise InvalidInput(
            f"{len(found)} assets have an id that begins with {prefix}: {listed}",
            hint="give more of its digits",
        )
    if not found:
        view.require_whole()
        raise NotFound(
            f"no asset in {url} has an id that begins with {prefix}",
            hint=Hint("list-classes"),
        )
    return found[0][0], found[0][1]


def moment(microseconds: int) -> datetime:
    """Return a time of the format (UTC microseconds) as a datetime.

    Example:
        >>> moment(0).year
        1970
    """
    seconds, rest = divmod(microseconds, 1_000_000)
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
    except (ValueError, OverflowError, OSError):
        # A forged store may claim any time: show the last possible one.
        return datetime.max.replace(tzinfo=UTC)


class Describer:
    """A describer of assets by one view of a store's log.

    Args:
        view: The log; None: no store was ever seen.
    """

    def __init__(self, view: LogView | None) -> None:
        self._view = view

    def _class(self, name: str) -> ClassView | None:
        return None if self._view is None else self._view.class_state(name)

    def number(self, class_name: str, asset: bytes) -> int | None:
        """Return an asset's number, None if it isn't published."""
        state = self._class(class_name)
        return None if state is None else state.number(asset)

    def record(self, class_name: str, asset: bytes) -> AssetRecord | None:
        """Return an asset's record in the log, None if it isn't published."""
        state = self._class(class_name)
        return None if state is None else state.find(asset)

    def _pointing(
        self, state: ClassView | None, asset: bytes, record: AssetRecord | None
    ) -> tuple[str, ...]:
        """Return an asset's aliases; none in a damaged log: later entries may have moved them."""
        if state is None or self._view is None or self._view.damage:
            return ()
        return record.aliases if record else state.aliases_of(asset)

    def status(self, class_name: str, asset: bytes) -> StatusName:
        """Return an asset's status; an unpublished one is active."""
        record = self.record(class_name, asset)
        return record.status if record else "active"

    def instead_of(self, class_name: str, asset: bytes) -> bytes | None:
        """Return what is to be used instead of an asset that is deprecated; None of another one."""
        if self.status(class_name, asset) != "deprecated":
            return None
        state = self._class(class_name)
        newest = state.newest_active() if state else None
        return newest.id if newest else None

    def info(self, asset_id: bytes, asset: Asset, size: int | None = None) -> AssetInfo:
        """Return everything about an asset except its files."""
        state = self._class(asset.class_name)
        record = state.find(asset_id) if state else None
        return AssetInfo(
            id=asset_id.hex(),
            class_name=asset.class_name,
            tree=asset.tree.hex(),
            author=asset.author,
            created_at=moment(asset.created_at),
            message=asset.message,
            size=size,
            number=self.number(asset.class_name, asset_id),
            aliases=self._pointing(state, asset_id, record),
            parents=tuple(parent.hex() for parent in asset.parents),
            refs=self.refs(asset.refs),
            metadata=dict(asset.metadata),
            status=record.status if record else "active",
            status_reason=record.reason if record else "",
            run=run_of(asset.extra),
        )

    def ref(self, asset: bytes, class_name: str, label: str) -> Ref:
        """Return a link to an asset, for people."""
        state = self._class(class_name)
        record = state.find(asset) if state else None
        number, aliases = self.number(class_name, asset), self._pointing(state, asset, record)
        status = record.status if record else "active"
        return Ref(asset.hex(), class_name, label, number, aliases, status)

    def refs(self, links: Iterable[RefLink]) -> tuple[Ref, ...]:
        """Return links, for people."""
        return tuple(self.ref(link.asset, link.class_name, link.label) for link in links)

    def moves(self, class_name: str, alias: str) -> tuple[AliasMove, ...]:
        """Return an alias's history, newest first."""
        state = self._class(class_name)
        moves = state.moves(alias) if state else ()
        if state is not None:
            state.load(move.asset for move in moves if move.asset)
        return tuple(self.move(class_name, alias, move) for move in reversed(moves))

    def note(self, record: NoteRecord) -> Note:
        """Return a note, for people."""
        note = record.note
        file = None
        if note.file is not None:
            file = File(note.file.name, "file", note.file.id.hex(), note.file.size)
        return Note(
            note.class_name,
            note.asset.hex() if note.asset else None,
            self.number(note.class_name, note.asset) if note.asset else None,
            record.entry,
            record.author,
            moment(record.at),
            {key: value for key, value in note.metadata.items() if value is not None},
            note.tags,
            tuple(key for key, value in note.metadata.items() if value is None),
            note.untags,
            note.message,
            file,
        )

    def noted(self, records: Sequence[NoteRecord]) -> Noted:
        """Return what the notes of an asset or of a class add up to, for people."""
        values, tags, message = noted(record.note for record in records)
        return Noted(values, tags, message, tuple(map(self.note, records)))

    def move(self, class_name: str, alias: str, move: AliasRecord) -> AliasMove:
        """Return one move of an alias, for people."""
        return AliasMove(
            class_name,
            alias,
            move.asset.hex() if move.asset else None,
            self.number(class_name, move.asset) if move.asset else None,
            move.author,
            moment(move.at),
            self.status(class_name, move.asset) if move.asset else "active",
        )
