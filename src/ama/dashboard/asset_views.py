"""The pages about one asset: itself, a file of it, its lineage."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from ama.asset import Asset
from ama.catalog.overview import AssetLine
from ama.catalog.questions import Questions
from ama.catalog.values import Fact, Summary
from ama.dashboard.note_views import NotePlacing, Place, served, shown_notes
from ama.dashboard.previews import Previews
from ama.dashboard.rendering import Page, path_to
from ama.dashboard.views import ROLES, Panel, panel
from ama.errors import InvalidInput, NotFound, shown
from ama.format.recorded import packages_in
from ama.lineage.graph import Lineage, LineageNode
from ama.lineage.svg import svg
from ama.store import Store
from ama.values import AliasMove, File

NEAR, FAR = 9, 60
"""The most assets in either direction on an asset's page, and in the large picture."""

MOST_FILES = 500
MOST_FACTS = 80
MOST_PACKAGES = 2000
MOST_PARENTS = 12
MOST_DEPTH = 24

Link = Callable[[str], str | None]
Placing = Callable[[File], Place | None]
"""Returns the place of a file's page; None if it has none."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the pages of an asset's files are, and of its notes' files; by default as served."""

    file: Placing | None = None
    noted: NotePlacing = served


@dataclass(slots=True)
class Folder:
    """A directory of an asset: its name, its own files, its directories, and the total of all
    files.
    """

    name: str
    files: list[File] = field(default_factory=list)
    folders: dict[str, Folder] = field(default_factory=dict)
    size: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """The values of one role, as many as a page shows."""

    title: str
    facts: tuple[Fact, ...]
    left_out: int


def asset_page(
    store: Store,
    questions: Questions,
    name: str,
    number: int,
    link: Link,
    places: Places = Places(),
    enlarged: bool = True,
) -> Page:
    """Return the page of an asset.

    Args:
        store: The store.
        questions: Asks it.
        name: The class.
        number: The asset's number.
        link: Returns where a page is, by its path; None where there is none.
        places: Where the pages of its files are.
        enlarged: Whether its lineage has a page of its own.

    Raises:
        NotFound: There is no such asset.
    """

    def file_place(file: File) -> Place:
        return "assets", name, number, "files", file.path

    line = questions.line(name, number)
    asset = store.resolve(f"{name}/{number}")
    gone = line.status == "deleted"
    summary = panel(lambda: asset.summary(most_files=MOST_FILES)) if not gone else None
    neighbours = questions.neighbours(name, number)
    history = questions.ancestors(bytes.fromhex(line.id), MOST_PARENTS + 1)
    content: dict[str, object] = {
        "line": line,
        "gone": gone,
        "info": panel(lambda: asset.info),
        "neighbours": neighbours,
        "before": _before(history, neighbours[0]) if not gone else None,
        "summary": summary,
        "facts": _facts(summary.value) if summary and summary.value else [],
        "packages": _packages(summary.value) if summary and summary.value else {},
        "most_packages": MOST_PACKAGES,
        "files": summary and _listing(summary, places.file or file_place),
        "noted": panel(lambda: shown_notes(asset.noted(), places.noted)),
        "history": history,
        "moves": panel(lambda: _moves(store, line)),
        "picture": panel(lambda: _picture(questions, line, NEAR, link)),
        "enlarged": enlarged,
        "commands": _commands(store, line),
    }
    return Page("asset.html", f"{name}/{number}", content)


def lineage_page(store: Store, questions: Questions, name: str, number: int, link: Link) -> Page:
    """Return the page of an asset's lineage, as large as is drawn."""
    line = questions.line(name, number)
    lineage = questions.around(bytes.fromhex(line.id), most=FAR)
    content = {
        "line": line,
        "picture": _drawn(lineage, link),
        "cut": lineage.cut,
        "lineage": lineage,
        "most": FAR,
    }
    return Page("lineage.html", f"Lineage of {name}/{number}", content)


def file_page(
    store: Store, questions: Questions, name: str, number: int, path: str, previews: Previews
) -> Page:
    """Return the page of a file: its preview, and how to get it.

    Args:
        store: The store.
        questions: Asks it.
        name: The class.
        number: The asset's number.
        path: The file's path in it.
        previews: Those that were made before.

    Raises:
        NotFound: The asset has no such file.
    """
    line = questions.line(name, number)
    asset = store.resolve(f"{name}/{number}")
    file = file_of_asset(asset, path)
    asked = shlex.quote(f"{name}/{number}:{path}")
    content = {
        "line": line,
        "file": file,
        "note": None,
        "names": path.split("/"),
        "preview": panel(
            lambda: previews.of(file, lambda: asset.stream(path), lambda: asset.open(path))
        ),
        "download": ("assets", name, number, "download", path),
        "image": ("assets", name, number, "image", path),
        "holders": (),
        "commands": (
            (
                "Command",
                f"ama cat {asked} --remote {shlex.quote(store.url)}"
                f" > {shlex.quote(path.split('/')[-1])}",
            ),
            ("Python", f'store.resolve("{name}/{number}").read({path!r})'),
        ),
    }
    return Page("file.html", f"{path} of {name}/{number}", content)


def file_of_asset(asset: Asset, path: str) -> File:
    """Return the file at an exact path of an asset; no other spelling leads to it.

    Raises:
        NotFound: The asset has no such file; the hint has suggestions.
    """
    found = asset.file(path)
    if found.path != path:  # another spelling, such as with a slash at its end
        raise NotFound(f"{asset.info.name} has no file {shown(path)}")
    return found


def _before(history: Sequence[AssetLine], neighbour: AssetLine | None) -> int | None:
    """Return the number of an asset's parent, if that is there, else of the asset before it.

    They differ if it was made from an older asset than the newest.
    """
    if history and history[0].status != "deleted":
        return history[0].number
    return neighbour.number if neighbour else None


def _facts(summary: Summary) -> list[Facts]:
    groups = []
    for role, title in ROLES.items():
        facts = [fact for fact in summary.facts if fact.role == role]
        # Single numbers come before histories.
        facts.sort(key=lambda fact: role == "metric" and isinstance(fact.value, tuple))
        if facts:
            left = max(0, len(facts) - MOST_FACTS)
            groups.append(Facts(title, tuple(facts[:MOST_FACTS]), left))
    return groups


def _packages(summary: Summary) -> dict[str, str]:
    return packages_in(summary.environment or "")


_Listing = tuple[Folder, int, dict[str, Place]]


def _listing(summary: Panel[Summary], place: Placing) -> Panel[_Listing]:
    """Return the files as a tree, how many are left out, and the places of those with a page."""
    known = summary.value
    if known is None:
        return Panel(error=summary.error)
    if not known.listed:
        return Panel(error=InvalidInput(known.unread[0].detail))
    places = {file.path: at for file in known.files if (at := place(file)) is not None}
    left = known.file_count - len(known.files)
    return Panel((_folder(known), left, places))


def _folder(summary: Summary) -> Folder:
    top = Folder("", size=summary.asset.size or 0, count=summary.file_count)
    for file in summary.files:
        *above, _ = file.path.split("/")
        if len(above) > MOST_DEPTH:
            # Deeper than anybody opens: the rest of the path is one name.
            above = [*above[:MOST_DEPTH], "/".join(above[MOST_DEPTH:])]
        here = top
        for part in above:
            here = here.folders.setdefault(part, Folder(part))
            here.size += file.size
            here.count += 1
        here.files.append(file)
    return top


def _moves(store: Store, line: AssetLine) -> list[AliasMove]:
    """Return the moves of aliases to this asset and away from it, newest first."""
    state = store.remote.view().class_state(line.class_name)
    record = state.find(bytes.fromhex(line.id))
    found: list[AliasMove] = []
    for alias in sorted((*record.aliases, *record.former)) if record else ():
        moves = store.alias_history(line.class_name, alias)
        for later, move in zip((None, *moves), moves, strict=False):
            if move.asset == line.id:
                found += [move] if later is None else [later, move]
    return sorted(dict.fromkeys(found), key=lambda move: move.moved_at, reverse=True)[:100]


def _picture(questions: Questions, line: AssetLine, most: int, link: Link) -> tuple[Markup, bool]:
    lineage = questions.around(bytes.fromhex(line.id), most=most)
    return _drawn(lineage, link), lineage.cut


def _drawn(lineage: Lineage, link: Link) -> Markup:
    def href(node: LineageNode) -> str | None:
        if node.number is None or not node.here:
            return None
        return link(path_to("assets", node.class_name, node.number))

    return Markup(svg(lineage, href=href, style=False))


def _commands(store: Store, line: AssetLine) -> tuple[tuple[str, str], ...]:
    name = f"{line.class_name}/{line.number}"
    # Its alias means the same in each store; the number is a store's own.
    alias = f" --alias {line.aliases[0]}" if line.aliases else ""
    by = f"{line.class_name}{alias}" if alias else name
    url = store.url
    return (
        ("Command", f"ama download {by} --remote {shlex.quote(url)}"),
        (
            "With all that it was made from",
            f"ama download {name} --refs --remote {shlex.quote(url)}",
        ),
        (
            "Python",
            f"import ama\n\nstore = ama.Store.open({url!r})\n"
            f'asset = store.resolve("{name}")\nasset.download("{line.class_name}-{line.number}")',
        ),
    )
