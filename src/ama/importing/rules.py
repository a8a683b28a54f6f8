"""Rules: which members of a source become which assets, and what these say of themselves.

    name = "(?P<name>.+)-(?P<day>[0-9]{8})"

    [[assets]]
    class = "nlp_embeddings"
    members = ["git_commit_info*.yml", "run_config*.yml", "training.yml"]

    [[assets]]
    class = "sequence_models"
    alias = "{name}"
    created_at = "{meta.yml:training_date}"
    metadata = {layers = "{model.yml:layers}"}
    refs = {nlp_embeddings = "inputs"}

A member goes to the first asset that asks for it; one without `members` takes the rest. In a text
`{...}` stands for a group of the pattern `name`, for `{source}` and `{name}`, or for a value in a
member, by its dotted key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain

from ama.catalog.documents import Value
from ama.errors import Hint, InvalidInput, shown
from ama.format.names import check_class, nearest
from ama.values import Scalar
from ama.worktree.ignore import matching

_FIELD = re.compile(r"\{([^{}]*)\}")
_BLANKS = re.compile(r"[^A-Za-z0-9._-]+")
_FACTS = ("name", "source", "date")
_TEXTS = ("alias", "author", "created_at", "message")
_KEYS = frozenset({"name", "assets"})
_ASSET_KEYS = frozenset({"class", "members", "metadata", "refs", "strip", *_TEXTS})
_DAY = re.compile(r"(\d{4})(\d{2})(\d{2})(?:[T_-]?(\d{2})(\d{2})(\d{2})?)?").fullmatch

ReadValue = Callable[[str, str], Value | None]
"""Returns the value in a member, by its path and its dotted key; None if there is none."""


@dataclass(frozen=True, slots=True)
class AssetRule:
    """What becomes an asset of a class.

    Attributes:
        class_name: The class.
        members: Globs of the members; those without a slash fit in every directory. None: the rest.
        alias: The text of its alias.
        author: The text of its author.
        created_at: The text of when it was made.
        message: The text of its message.
        metadata: The metadata: values, or texts.
        refs: What it is made from: labels by the classes of other assets of the same source.
        strip: Whether a directory that holds all members is left out of their paths.
    """

    class_name: str
    members: tuple[str, ...] | None = None
    alias: str | None = None
    author: str | None = None
    created_at: str | None = None
    message: str | None = None
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    refs: Mapping[str, str] = field(default_factory=dict)
    strip: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules.

    Attributes:
        assets: The assets of a source, in this order.
        name: A pattern for the whole name of a source; what it does not fit is not imported.
    """

    assets: tuple[AssetRule, ...]
    name: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """An asset that a source will become.

    Attributes:
        class_name: Its class.
        members: The members, by their paths in the asset.
        alias: Its alias, if it gets one.
        author: Its author, if that is known.
        created_at: When it was made, if that is known; in UTC.
        message: Its message.
        metadata: Its metadata.
        refs: What it is made from: labels by the places of others in the plan.
        absent: The `MEMBER:KEY` that rules asked for and no member says.
    """

    class_name: str
    members: Mapping[str, str]
    alias: str | None
    author: str | None
    created_at: datetime | None
    message: str
    metadata: Mapping[str, Scalar]
    refs: Mapping[int, str]
    absent: tuple[str, ...] = ()


def load_rules(text: str) -> Rules:
    r"""Read rules.

    Args:
        text: TOML.

    Raises:
        InvalidInput: They say something that is no rule.

    Example:
        >>> rules = load_rules('[[assets]]\nclass = "models"\nalias = "{name}"')
        >>> rules.assets[0].alias
        '{name}'
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"the rules are no TOML: {error}") from error
    _known(table, _KEYS, "the rules")
    name = _text(table.get("name"), "name", "the rules")
    tables = table.get("assets")
    if not (isinstance(tables, list) and tables):
        raise InvalidInput("the rules have no [[assets]]", hint="begin each with [[assets]]")
    try:
        pattern = None if name is None else re.compile(name)
    except re.error as error:
        raise InvalidInput(f"name of the rules is no regular expression: {error}") from error
    assets = tuple(_asset(each, f"assets {at} of the rules") for at, each in enumerate(tables, 1))
    _check_together(assets)
    for at, rule in enumerate(assets, 1):
        check_texts(rule, () if pattern is None else pattern.groupindex, f"assets {at}: ")
    return Rules(assets, pattern)


def check_texts(rule: AssetRule, groups: Collection[str] = (), where: str = "") -> None:
    r"""Check what the texts of a rule ask for, before any source is read.

    Args:
        rule: The rule.
        groups: The groups of the pattern `name`.
        where: Which rule it is, for errors.

    Raises:
        InvalidInput: A text asks for what no source can say, or has half a `{...}`.

    Example:
        >>> check_texts(AssetRule("models", alias="{name}"))
    """
    texts: dict[str, Scalar | None] = {key: getattr(rule, key) for key in _TEXTS}
    texts |= {f"metadata {key}": value for key, value in rule.metadata.items()}
    known = dict.fromkeys((*groups, *_FACTS))
    for what, text in texts.items():
        if not isinstance(text, str):
            continue
        if {"{", "}"} & set(_FIELD.sub("", text)):
            raise InvalidInput(f"{where}{what} has a brace too many: {shown(text)}")
        for field_name in _FIELD.findall(text):
            if ":" not in field_name and field_name not in known:
                raise _unsaid(field_name, where + what, known)
    if rule.created_at and not _FIELD.search(rule.created_at):
        _time(rule.created_at, f"{where}created_at")


def name_groups(rules: Rules, name: str) -> dict[str, str] | None:
    r"""Return what stands for `{...}` by a source's name; None if the rules don't fit it.

    Args:
        rules: The rules.
        name: The last part of its URL, without the suffix of an archive.

    Example:
        >>> rules = load_rules('name = "(?P<run>.*)-(?P<day>.*)"\n[[assets]]\nclass = "m"')
        >>> name_groups(rules, "base-20260101")
        {'name': 'base-20260101', 'run': 'base', 'day': '20260101'}
    """
    if rules.name is None:
        return {"name": name}
    found = rules.name.fullmatch(name)
    if found is None:
        return None
    return {"name": name} | {key: value or "" for key, value in found.groupdict().items()}


def plan(
    rules: Rules, members: Mapping[str, int], facts: Mapping[str, str], read: ReadValue
) -> list[Planned]:
    r"""Return what a source will become.

    Args:
        rules: The rules.
        members: The sizes of the source's members, by their paths.
        facts: What stands for `{...}`.
        read: See `ReadValue`.

    Raises:
        InvalidInput: A text asks for what is not there, or says what can't be in an asset.

    Example:
        >>> rules = load_rules('[[assets]]\nclass = "models"\nalias = "{name}"')
        >>> planned = plan(rules, {"model.h5": 7}, {"name": "base"}, lambda member, key: None)
        >>> planned[0].alias, planned[0].members
        ('base', {'model.h5': 'model.h5'})
    """
    left = dict.fromkeys(members)
    asked: dict[str, list[str]] = {}
    for rule in sorted(rules.assets, key=lambda each: each.members is None):
        fits = [matching(glob if "/" in glob else f"**/{glob}") for glob in rule.members or ("**",)]
        own = asked[rule.class_name] = [path for path in left if any(fit(path) for fit in fits)]
        for path in own:
            del left[path]
    taken = [(rule, own) for rule in rules.assets if (own := asked[rule.class_name])]
    places = {rule.class_name: at for at, (rule, _) in enumerate(taken)}
    return [
        _planned(rule, own, places, _Texts(facts, own, list(members), read)) for rule, own in taken
    ]


def _planned(rule: AssetRule, own: list[str], places: Mapping[str, int], texts: _Texts) -> Planned:
    top = _common_directory(own) if rule.strip else ""
    made = texts.value(rule.created_at, "created_at")
    alias = texts.text(rule.alias, "alias")
    metadata = {key: texts.scalar(value, f"metadata {key}") for key, value in rule.metadata.items()}
    return Planned(
        rule.class_name,
        {path.removeprefix(top): path for path in own},
        None if alias is None else _BLANKS.sub("-", alias).strip("-._") or None,
        texts.text(rule.author, "author"),
        None if made is None else _time(made, "created_at"),
        texts.text(rule.message, "message") or "",
        {key: value for key, value in metadata.items() if value is not None},
        {places[name]: label for name, label in rule.refs.items() if name in places},
        tuple(texts.absent),
    )


class _Texts:
    """The values of texts with `{...}` for one asset.

    Attributes:
        absent: The `MEMBER:KEY` that were asked for and that no member says.
    """

    def __init__(
        self, facts: Mapping[str, str], own: list[str], all_members: list[str], read: ReadValue
    ) -> None:
        self._facts = facts
        self._members = [*own, *all_members]
        self._read = read
        self.absent: dict[str, None] = {}

    def value(self, text: str | None, what: str) -> Value | None:
        """Return the value of a text that is one `{...}` as it is, else its text; None if empty."""
        if text is None:
            return None
        alone = _FIELD.fullmatch(text)
        if alone is not None:
            return self._field(alone[1], what)
        found = _FIELD.sub(lambda each: _plain(self._field(each[1], what)), text)
        return found or None

    def text(self, text: str | None, what: str) -> str | None:
        """Return the text of a text; None if it is empty."""
        return _plain(self.value(text, what)) or None

    def scalar(self, given: Scalar, what: str) -> Scalar | None:
        """Return the value for a metadata; a list as text."""
        found = self.value(given, what) if isinstance(given, str) else given
        return found if isinstance(found, (str, int, float, bool)) else _plain(found) or None

    def _field(self, field_name: str, what: str) -> Value | None:
        member, colon, key = field_name.rpartition(":")
        if not colon:
            if field_name not in self._facts:
                raise _unsaid(field_name, what, self._facts)
            return self._facts[field_name] or None
        fits = matching(member if "/" in member else f"**/{member}")
        for path in dict.fromkeys(self._members):
            if fits(path) and (found := self._read(path, key)) is not None:
                return found
        self.absent[field_name] = None
        return None


def _unsaid(field_name: str, what: str, known: Collection[str]) -> InvalidInput:
    names = ", ".join(f"{{{name}}}" for name in known)
    return InvalidInput(
        f"{what} asks for {{{shown(field_name)}}}, which nothing says",
        hint=f"there are {names}, and {{MEMBER:KEY}}",
    )


def _time(value: Value, what: str) -> datetime:
    try:
        return parse_time(value)
    except InvalidInput as error:
        raise InvalidInput(
            f"{what}: {error.message}", hint="a time is 2026-11-02, 20261102 or 2026-11-02T10:15:00"
        ) from error


def parse_time(value: Value) -> datetime:
    """Return the moment that a value means; without a time zone, in UTC.

    Args:
        value: ISO 8601, digits such as 20261102 or 20261102T101500, or seconds since 1970.

    Raises:
        InvalidInput: It is none of these.

    Example:
        >>> parse_time("2026-11-02").isoformat(), parse_time(1790000000).year
        ('2026-11-02T00:00:00+00:00', 2026)
    """
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 99999999:
            return datetime.fromtimestamp(value, UTC)
        text = str(value).strip()
        if day := _DAY(text):
            return datetime(*(int(part) for part in day.groups() if part), tzinfo=UTC)  # type: ignore[arg-type, misc]
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidInput(f"{shown(str(value))} is no time") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _plain(value: Value | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _common_directory(paths: list[str]) -> str:
    """Return the directory, with a slash, that all paths are in; empty if there is none.

    Example:
        >>> _common_directory(["out/a", "out/b/c"]), _common_directory(["a", "out/b"])
        ('out/', '')
    """
    parts = [path.split("/")[:-1] for path in paths]
    common: list[str] = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        common.append(level[0])
    return "".join(f"{part}/" for part in common)


# The form of rules


def _asset(table: object, where: str) -> AssetRule:
    if not isinstance(table, dict):
        raise InvalidInput(f"{where} is no table")
    _known(table, _ASSET_KEYS, where)
    class_name = _text(table.get("class"), "class", where)
    if class_name is None:
        raise InvalidInput(f"{where} names no class")
    members = table.get("members")
    if members is not None and not (
        isinstance(members, list) and members and all(isinstance(each, str) for each in members)
    ):
        raise InvalidInput(f"members of {where} are no list of globs")
    strip = table.get("strip", False)
    if not isinstance(strip, bool):
        raise InvalidInput(f"strip of {where} is neither true nor false")
    metadata = _table(table.get("metadata", {}), "metadata", where)
    for key, value in metadata.items():
        if not isinstance(value, (str, int, float, bool)):
            raise InvalidInput(f"metadata {shown(key)} of {where} is no text, number or boolean")
    refs: dict[str, str] = {}
    for key, value in _table(table.get("refs", {}), "refs", where).items():
        if not isinstance(value, str):
            raise InvalidInput(f"refs {shown(key)} of {where} is no text")
        refs[key] = value
    return AssetRule(
        check_class(class_name),
        None if members is None else tuple(members),
        **{name: _text(table.get(name), name, where) for name in _TEXTS},
        metadata=metadata,
        refs=refs,
        strip=strip,
    )


def _check_together(assets: tuple[AssetRule, ...]) -> None:
    classes = [rule.class_name for rule in assets]
    twice = next((name for name in classes if classes.count(name) > 1), None)
    if twice is not None:
        raise InvalidInput(f"two [[assets]] of the rules are of the class {twice}")
    rest = [rule.class_name for rule in assets if rule.members is None]
    if len(rest) > 1:
        raise InvalidInput(f"two [[assets]] of the rules take the rest: {', '.join(rest)}")
    done: set[str] = set()
    waiting = {rule.class_name: set(rule.refs) for rule in assets}
    for name in chain.from_iterable(waiting.values()):
        if name not in waiting:
            raise InvalidInput(f"refs of the rules name {shown(name)}, which no [[assets]] makes")
    while ready := [name for name, refs in waiting.items() if refs <= done]:
        done.update(ready)
        waiting = {name: refs for name, refs in waiting.items() if name not in done}
    if waiting:
        raise InvalidInput(f"refs of the rules go round in a circle: {', '.join(waiting)}")


def in_order(refs: Sequence[Collection[int]]) -> Iterator[int]:
    """Yield the places of assets, each after those that it is made from.

    Raises:
        InvalidInput: Some are made from each other.

    Example:
        >>> list(in_order([[1], []]))
        [1, 0]
    """
    done: set[int] = set()
    left = list(range(len(refs)))
    while left:
        for at in left:
            if done.issuperset(refs[at]):
                done.add(at)
                yield at
        if len(left) == (waiting := len(refs) - len(done)):
            raise InvalidInput(f"{waiting} assets are made from each other, in a circle")
        left = [at for at in left if at not in done]


def _known(table: Mapping[str, object], known: Collection[str], where: str) -> None:
    for key in table.keys() - known:
        hint: Hint | str = f"known are {', '.join(sorted(known))}"
        if key in _ASSET_KEYS | _KEYS:
            hint = "it goes below [[assets]]" if key in _ASSET_KEYS else "it goes to the very top"
        elif near := nearest(key, known):
            hint = Hint("did-you-mean", names=tuple(near))
        raise InvalidInput(f"{shown(key)} of {where} is no key", hint=hint)


def _text(value: object, key: str, where: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"{key} of {where} is no text")
    return value


def _table(value: object, key: str, where: str) -> dict[str, Scalar]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{key} of {where} is no table")
    return value
