"""The check of sources: are the files that references lead to still as they were?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from ama.errors import AmaError, NotFound
from ama.format.objects import Kind
from ama.format.pack import read_record
from ama.format.packindex import Location
from ama.format.references import Reference
from ama.maintenance.fsck_packs import Fault, PackCheck, give_up, plural
from ama.storage.outside import shown_url
from ama.stores.object_reader import ObjectStore
from ama.stores.references import Wanted, changed, in_batches
from ama.system.progress import Progress

AT_ONCE = 1000
"""The most sources that are asked for at once."""

_PLACES = 1 << 14


class SourceCheck:
    """The check of the sources of all references in some packs.

    Args:
        objects: The objects.
        packs: The finished check of their packs. It learns which references lead nowhere.
        progress: The progress of what is asked and read.

    Attributes:
        faults: What is wrong with sources.
        asked: How many sources were asked for.
        read: How many bytes were read of them.
    """

    def __init__(self, objects: ObjectStore, packs: PackCheck, progress: Progress) -> None:
        self._objects = objects
        self._packs = packs
        self._progress = progress
        self.faults: list[Fault] = []
        self.asked = 0
        self.read = 0

    def ask(self) -> None:
        """Ask for the size and the mark of each source: a request each."""
        sources = sorted(self._packs.sources)
        self._progress.start("Asking for sources", len(sources))
        wrong: dict[tuple[str, str, int], str] = {}
        try:
            waiting = iter(sources)
            while some := list(islice(waiting, AT_ONCE)):
                found = self._objects.references.outside.details([url for url, _, _ in some])
                for source, now in zip(some, found, strict=True):
                    url, mark, size = source
                    if isinstance(now, AmaError):
                        give_up(now)
                        wrong[source] = _said(now)
                    elif what := changed(Reference(url, mark, size, 0, 1), now.size, now.mark):
                        wrong[source] = what
                self._progress.advance(len(some))
        finally:
            self._progress.finish()
        self.asked = len(sources)
        self._note(wrong)

    def read_all(self) -> None:
        """Read the content of each reference, and compute its id."""
        self._progress.start("Reading sources", self._packs.referenced)
        bad: dict[str, tuple[str, set[bytes]]] = {}
        try:
            for some in in_batches(self._references(), lambda each: each[0].record.full):
                found = self._objects.references.fetch([Wanted(at.record, ref) for at, ref in some])
                for (at, reference), data in zip(some, found, strict=True):
                    if isinstance(data, AmaError):
                        give_up(data)
                        self._packs.bad.add(at)
                        what = data.message.partition("which has it, ")[2] or data.message
                        bad.setdefault(reference.url, (what, set()))[1].add(at.record.id)
                    else:
                        self.read += len(data)
                    self._progress.advance(at.record.full)
        finally:
            self._progress.finish()
        for url, (what, lost) in sorted(bad.items()):
            said = f"{what}; {plural(len(lost), 'object')} by reference can't be read there"
            self.faults.append(Fault(shown_url(url), said, frozenset(lost)))

    def _note(self, wrong: dict[tuple[str, str, int], str]) -> None:
        """Note what lies in sources that are not what they were."""
        if not wrong:
            return
        lost: dict[tuple[str, str, int], set[bytes]] = {source: set() for source in wrong}
        for at, reference in self._references():
            source = (reference.url, reference.mark, reference.size)
            if source in lost:
                lost[source].add(at.record.id)
                self._packs.bad.add(at)
        for source, what in sorted(wrong.items()):
            said = f"{what}; {plural(len(lost[source]), 'object')} by reference lay there"
            self.faults.append(Fault(shown_url(source[0]), said, frozenset(lost[source])))

    def _references(self) -> Iterator[tuple[Location, Reference]]:
        """Yield all sound references, in the order of the packs."""
        waiting = iter(_outside(self._objects, self._packs))
        while some := list(islice(waiting, _PLACES)):
            for at, raw in self._objects.read_raw(some, {}):
                found = read_record(raw, at.record)
                if isinstance(found, Reference):
                    yield at, found


def _outside(objects: ObjectStore, packs: PackCheck) -> Iterable[Location]:
    for index in objects.indexes:
        for at in index:
            if at.record.kind is Kind.REFERENCE and not packs.is_bad(at):
                yield at


def _said(error: AmaError) -> str:
    return "is gone" if isinstance(error, NotFound) else error.message
