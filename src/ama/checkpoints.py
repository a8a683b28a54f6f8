"""Checkpoints, published while a training goes on."""

from __future__ import annotations

import os
import secrets
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from ama.errors import Conflict, InvalidInput, StorageError, shown
from ama.format.names import check_alias
from ama.format.notes import noted
from ama.format.objects import check_metadata
from ama.format.state import AssetRecord
from ama.operations.best import Best
from ama.operations.publishing import look_at, publish
from ama.operations.session import absolute, plain
from ama.publication import prepared
from ama.settings import Settings
from ama.store import Store
from ama.stores.creation import Unmade
from ama.stores.log_view import LogView
from ama.stores.revisions import Describer
from ama.system.background import Newest
from ama.system.encoding import check_texts, given, path_text
from ama.system.progress import NO_PROGRESS
from ama.system.scratch import Scratch
from ama.transfer.aliases import check_alias_name, check_class_name
from ama.transfer.download import Target
from ama.values import AssetInfo, Scalar
from ama.worktree.given import Listing, PathLike, Source, read_all

RUN, STEP = "run", "step"
"""The metadata of each checkpoint, beside its metrics."""

TRIES = 10
"""How often the metrics are compared anew, if notes come at the same time."""

MOST_FAILURES = 100
"""The failures that are remembered, the newest ones."""

Files = Iterable[PathLike] | Mapping[str, Source] | Callable[[Path], object]
"""Files as `Store.publish` takes them; or what writes them into an empty directory."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A checkpoint that was not published."""

    step: int
    """Its step."""
    error: Exception
    """Why."""


@dataclass(frozen=True, slots=True)
class _Job:
    """A checkpoint to publish, and the directory with its files, if they are copies."""

    number: int
    step: int
    listing: Listing
    metadata: Mapping[str, Scalar]
    directory: Scratch | None
    process: int
    """The process that took it: one that was forked has no part in it."""

    def discard(self) -> None:
        if self.directory is not None:
            self.directory.remove()


class _NotedMeanwhile(Exception):
    """A note came after the metrics were compared."""


class Checkpoints:
    """Publishes checkpoints of a training in the background, and keeps the best ones.

    One is published at a time, and what comes meanwhile replaces the one that waits: a slow store
    skips checkpoints, and never holds up the training. Only what changed is sent. Each gets the
    alias `RUN-latest`, and the best one `RUN-best`; it follows the one before it. What could not be
    published is a warning at once, and an error at the end unless a later one was published.

    With `keep`, the others are deleted: never one that has another alias, or that a live asset was
    made from, or that this run did not publish. `Store.delete` can undo it, as long as no garbage
    collection has run. A checkpoint without the metric (it may come later, as a note) counts beside
    them: the newest `keep` of such stay, too.

    A training that goes on under the same `run` finds what it has published. Of several processes
    that train one model, one publishes. The two aliases are the run's own: wherever others have
    moved them, they follow what it publishes.

    Args:
        class_name: The class of the checkpoints.
        store: The store, or its URL or the name of a configured remote; by default the configured
            one. If there is none, it is made.
        run: The name of the run; by default a new one. It begins the aliases.
        every: The steps from one checkpoint to the next; see `step`.
        keep: How many to keep: the best, or without `best`, the newest. The newest one always
            stays. None: all.
        best: The metric by which one is better: "min:loss" or "max:accuracy".
        refs: What the checkpoints are made from; see `Store.publish`.
        metadata: Metadata of each, in addition to `run`, `step` and the metrics.
        copy: Whether `step` copies the files, so that the training may overwrite them at once. If
            not, they are read where they are; a checkpoint whose files change before they are
            published is not published. `step` waits until that would be seen: about 50 ms.
        scratch: The directory for the copies; by default the system's for temporary files. A killed
            process leaves there what it has not published, as `ama-*`.
        on_error: "raise" at the end, or only "warn".
        code: The directory of the code; see `Settings.code`.
        force: Whether to take files that look like secrets.

    Raises:
        InvalidInput: An argument makes no sense.
        NotFound: There is no such asset to link.
        StorageError: The store can't be reached.

    Example:
        >>> import ama
        >>> store = ama.Store.open("store")
        >>> with ama.Checkpoints("runs", store=store, run="a", every=10, best="min:loss") as run:
        ...     for step in range(1, 31):
        ...         _ = run.step(step, {"weights": bytes(step)}, {"loss": 1 / step})
        >>> store.resolve("runs@a-best").info.metadata["step"]
        30
    """

    def __init__(
        self,
        class_name: str,
        *,
        store: str | os.PathLike[str] | Store | None = None,
        run: str | None = None,
        every: int = 1,
        keep: int | None = None,
        best: str | None = None,
        refs: str | Iterable[str] | Mapping[str, str] = (),
        metadata: Mapping[str, Scalar] | None = None,
        copy: bool = True,
        scratch: str | os.PathLike[str] | None = None,
        on_error: Literal["raise", "warn"] = "raise",
        code: str | os.PathLike[str] | None = None,
        force: bool = False,
    ) -> None:
        check_texts(run=run, best=best)
        self.class_name = class_name
        self.run = run if run is not None else _new_run()
        self._every = _count("every", every)
        self._keep = None if keep is None else _count("keep", keep)
        self._best = None if best is None else Best.parse(best)
        if on_error not in ("raise", "warn"):
            raise InvalidInput(f"on_error is 'raise' or 'warn', not {shown(repr(on_error))}")
        self._raises = on_error == "raise"
        self._copy, self._force = copy, force
        self._scratch = None if scratch is None else path_text("the directory", scratch)
        self._code = None if code is None else absolute(code)
        self._store = _opened(store)
        self._store.settings.code_directory(self._code)
        self._said = self._store._described(
            class_name,
            [self.latest_alias, *([self.best_alias] if self._best else [])],
            refs,
            metadata,
            None,
        )
        if self._said.metadata.keys() & {RUN, STEP}:
            raise InvalidInput(f"each checkpoint has {RUN} and {STEP} of its own in its metadata")
        self._mine: list[str] = []
        """The ids of what this run has published and that is live, oldest first."""
        self._tried: set[str] = set()
        """Those that are not to be deleted."""
        self._published: tuple[AssetInfo, ...] = ()
        self._values: dict[str, Mapping[str, Scalar]] = {}
        """What each of them says, and what was noted of it: that counts more."""
        self._notes: dict[str, int] = {}
        """How many notes that were."""
        self._find_own()
        self._last: int | None = self._step_of_latest()
        self._queue = Newest(self._work, "ama-checkpoints")
        self._left: _Job | None = None
        """What failed and may succeed at another try, as long as nothing newer comes."""
        self._failures: deque[Failure] = deque(maxlen=MOST_FAILURES)
        self._taken = 0
        self._error: tuple[int, Exception] | None = None
        """What is to be raised at the end, and the number of the checkpoint."""
        self._untidy: Exception | None = None
        self._skipped = 0

    def __repr__(self) -> str:
        return f"<ama.Checkpoints {self.class_name} of {shown(self.run)} in {self._store.url}>"

    @property
    def latest_alias(self) -> str:
        """The alias of the newest checkpoint."""
        return self._alias("latest")

    @property
    def best_alias(self) -> str:
        """The alias of the best checkpoint."""
        return self._alias("best")

    def _alias(self, end: str) -> str:
        alias = f"{self.run}-{end}"
        try:
            return check_alias(alias)
        except InvalidInput as error:
            raise InvalidInput(
                f"'{shown(self.run)}' can't be the name of a run: {shown(alias)} would be no alias",
                hint=error.hints,
            ) from error

    @property
    def published(self) -> tuple[AssetInfo, ...]:
        """The live checkpoints of this run in the store, oldest first, as last seen."""
        return self._published

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What was not published: the newest 100."""
        return tuple(self._failures)

    @property
    def skipped(self) -> int:
        """How many checkpoints a newer one has replaced while they waited."""
        return self._skipped

    # What the training calls

    def due(self, step: int) -> bool:
        """Tell whether `step` would take a checkpoint: for who writes files only then.

        Example:
            >>> import ama
            >>> run = ama.Checkpoints("runs", store=ama.Store.open("store"), every=100)
            >>> run.due(99), run.due(100)
            (False, True)
        """
        if isinstance(step := plain(step), bool) or not isinstance(step, int):
            raise InvalidInput(f"a step is a whole number, not {shown(repr(step))}")
        check_metadata(STEP, step)
        passed = self._last is not None and step // self._every > self._last // self._every
        return step % self._every == 0 or passed

    def step(
        self,
        step: int,
        files: Files,
        metrics: Mapping[str, Any] | None = None,
        *,
        always: bool = False,
    ) -> bool:
        """Take a checkpoint if one is due: a multiple of `every` is reached since the last call.

        Args:
            step: The step; whatever the training counts.
            files: The files, whole: see `Store.publish`. Or a function that writes them into the
                empty directory that it is given; it is called only if a checkpoint is due.
            metrics: Numbers of this step, by their names; those of numpy and torch become plain.
            always: Whether to take one in any case: at the end.

        Returns:
            Whether one was taken; it is published in the background.

        Raises:
            InvalidInput: The step is no whole number, or a metric no value of metadata. Whatever
                else goes wrong is a warning, and one of `failures`.

        Example:
            >>> import ama
            >>> run = ama.Checkpoints("runs", store=ama.Store.open("store"), every=100)
            >>> run.step(1, ["model.h5"])
            False
            >>> run.step(100, lambda directory: (directory / "w").write_bytes(b"1"), {"loss": 0.5})
            True
            >>> run.close()
        """
        due = self.due(step) or always
        metadata = self._metadata(plain(step), metrics or {})
        self._last = plain(step)
        if not due:
            return False
        self._taken += 1
        try:
            job = self._job(plain(step), files, metadata)
            self._submit(job)
        except Exception as error:  # noqa: BLE001 - nothing ends the training: see `on_error`
            self._failed(self._taken, plain(step), error)
            return False
        return True

    def wait(self) -> None:
        """Wait until nothing is left to publish.

        Example:
            >>> import ama
            >>> run = ama.Checkpoints("runs", store=ama.Store.open("store"))
            >>> _ = run.step(1, ["model.h5"])
            >>> run.wait()
            >>> [asset.metadata["step"] for asset in run.published]
            [1]
        """
        self._queue.wait()

    def prune(self) -> None:
        """Look at the metrics again: move the alias of the best, delete what is not kept.

        It is done after each publication. Call it when notes have come since.

        Raises:
            StorageError: The store can't be reached.

        Example:
            >>> import ama
            >>> ama.Checkpoints("runs", store=ama.Store.open("store"), keep=3).prune()
        """
        self.wait()
        self._tidy()

    def close(self) -> None:
        """Wait, try once more what failed last, and raise what was not published after all.

        Raises:
            AmaError: The last checkpoint could not be published, or what is not kept not deleted;
                unless `on_error` is "warn".

        Example:
            >>> import ama
            >>> ama.Checkpoints("runs", store=ama.Store.open("store")).close()
        """
        self.wait()
        if self._left is not None and self._left.process == os.getpid():
            with suppress(StorageError):  # no thread for it: the error before stays
                self._queue.submit(self._left)
            self.wait()
        self._let_go()
        error = self._untidy if self._error is None else self._error[1]
        self._error = self._untidy = None
        if error is not None and self._raises:
            raise error

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except Exception as also:  # noqa: BLE001 - the training's own error matters more
            error.add_note(f"a checkpoint was not published, either: {also}")

    # Taking one

    def _metadata(self, step: int, metrics: Mapping[str, Any]) -> dict[str, Scalar]:
        if not isinstance(metrics, Mapping):
            raise InvalidInput(
                f"metrics are numbers by their names, not of type {type(metrics).__name__}"
            )
        found = {key: plain(value) for key, value in metrics.items()}
        for key, value in found.items():
            check_metadata(key, value)
        if both := sorted(found.keys() & {RUN, STEP, *self._said.metadata}):
            raise InvalidInput(f"{shown(both[0])} is in the metadata of each checkpoint already")
        return {**self._said.metadata, RUN: self.run, STEP: step, **found}

    def _job(self, step: int, files: Files, metadata: Mapping[str, Scalar]) -> _Job:
        made = None
        listing = None if callable(files) else self._listing(files)
        if listing is None or (self._copy and listing.on_disk):
            made = Scratch("ama-", self._scratch)
        try:
            if callable(files):
                assert made is not None
                files(made.path)
                listing = self._listing([made.path])
            elif listing is not None and made is not None:
                listing = listing.copied(made.path)
            elif listing is not None:
                listing.settle()
            assert listing is not None
            return _Job(self._taken, step, listing, metadata, made, os.getpid())
        except BaseException:
            if made is not None:
                made.remove()
            raise

    def _listing(self, files: Iterable[PathLike] | Mapping[str, Source]) -> Listing:
        return look_at(self._store.remote, self._store.settings, files, force=self._force)

    # Publishing, on a thread

    def _submit(self, job: _Job) -> None:
        try:
            skipped = self._queue.submit(job)
        except BaseException:
            job.discard()
            raise
        if skipped is not None:
            skipped.discard()
            self._skipped += 1

    def _work(self, job: _Job) -> None:
        if self._left is not job:
            self._let_go()
        try:
            self._publish(job)
        except Exception as error:  # noqa: BLE001 - raised by `close`
            if isinstance(error, StorageError):
                self._left = job
            self._failed(job.number, job.step, error)
        else:
            if self._error is not None and self._error[0] <= job.number:
                self._error = None
            self._tidy_quietly()
        finally:
            if self._left is not job:
                job.discard()

    def _let_go(self) -> None:
        left, self._left = self._left, None
        if left is not None:
            left.discard()

    def _publish(self, job: _Job) -> None:
        given = read_all(job.listing, force=self._force, progress=NO_PROGRESS)
        # What is published is what was read: so it must be what was there when it was taken.
        job.listing.require_same()
        aliases = [self.latest_alias]
        if self._best is not None and self._best.improves(job.metadata, self._ranked()):
            aliases.append(self.best_alias)
        done = publish(
            self._store.remote,
            self._store.settings,
            given,
            replace(self._said, aliases=tuple(aliases), metadata=job.metadata, free=True),
            once=True,
            code_dir=self._code,
            environment=False,
            progress=NO_PROGRESS,
        )
        if isinstance(self._store.remote.storage, Unmade):
            self._store = Store.open(self._store.url, settings=self._store.settings)
        assert done.asset is not None
        self._mine = [each for each in self._mine if each != done.asset.id] + [done.asset.id]

    def _failed(self, number: int, step: int, error: Exception) -> None:
        self._error = number, error
        self._failures.append(Failure(step, error))
        _warn(f"the checkpoint of step {step} was not published: {error}")

    # Keeping the best

    def _find_own(self) -> None:
        """Find what this run has published: what its alias was on, and what says so itself."""
        view = self._store.remote.view()
        check_class_name(view, self.class_name)
        for alias in self._said.aliases:
            check_alias_name(view.class_state(self.class_name), alias, [])
        if view.class_state(self.class_name).last_move(self.latest_alias) is None:
            return
        moves = Describer(view).moves(self.class_name, self.latest_alias)
        live = [move.asset for move in moves if move.asset and move.status != "deleted"]
        self._mine = list(dict.fromkeys(reversed(live)))
        self._published = self._infos()
        self._mine = [asset.id for asset in self._published]

    def _step_of_latest(self) -> int | None:
        found = [asset for asset in self._published if self.latest_alias in asset.aliases]
        step = found[0].metadata.get(STEP) if found else None
        return step if isinstance(step, int) else None

    def _infos(self) -> tuple[AssetInfo, ...]:
        """Return the live checkpoints of this run as they are now, oldest first."""
        view = self._store.remote.view()
        describer = Describer(view)
        wanted = [(self.class_name, bytes.fromhex(each)) for each in self._mine]
        found = self._store.remote.assets(view, wanted)
        infos = [describer.info(asset, found[asset]) for _, asset in wanted]
        if self._best is not None:
            notes = self._store.remote.log.notes.at(view)
            said = [notes.of(self.class_name, asset) for _, asset in wanted]
            self._notes = {info.id: len(each) for info, each in zip(infos, said, strict=True)}
            values = (noted(record.note for record in records)[0] for records in said)
            self._values = {
                info.id: {**info.metadata, **later}
                for info, later in zip(infos, values, strict=True)
            }
        return tuple(
            info
            for info in infos
            if info.status != "deleted" and info.metadata.get(RUN) == self.run
        )

    def _tidy_quietly(self) -> None:
        try:
            self._tidy()
        except Exception as error:  # noqa: BLE001 - raised by `close`
            self._untidy = error
            _warn(f"the checkpoints of {shown(self.run)} were not pruned: {error}")

    def _tidy(self) -> None:
        """Move the alias of the best, and delete what is not kept."""
        for _ in range(TRIES):
            with suppress(_NotedMeanwhile):
                self._tidy_once()
                break

    def _tidy_once(self) -> None:
        self._published = self._infos()
        if self._best is not None:
            best = self._best.of(self._ranked())
            if best is not None and self.best_alias not in best.aliases:
                self._store.move_alias(self.class_name, self.best_alias, best.id)
                self._published = self._infos()
        for asset in self._to_delete():
            try:
                self._delete(asset)
            except Conflict:
                # Something was made from it, or it has just got an alias.
                self._tried.add(asset.id)
            else:
                self._published = tuple(each for each in self._published if each is not asset)
        self._mine = [asset.id for asset in self._published]
        self._untidy = None

    def _delete(self, asset: AssetInfo) -> None:
        """Delete a checkpoint, unless it was noted since that it is one of the best."""
        from ama.transfer.delete import deleting

        remote, known = self._store.remote, self._notes.get(asset.id)
        target = Target(self.class_name, bytes.fromhex(asset.id), asset.number or 0)
        decide = deleting(remote, target, self._reason, force=False)

        def unless_noted(view: LogView, record: AssetRecord) -> AssetRecord:
            if known is not None:
                notes = remote.log.notes.at(view).of(self.class_name, target.asset)
                if len(notes) != known:
                    raise _NotedMeanwhile
            return decide(view, record)

        self._store._change_status(target, unless_noted)

    @property
    def _reason(self) -> str:
        which = "newest" if self._best is None else "best"
        return f"not one of the {which} {self._keep} checkpoints of {self.run}"

    def _ranked(self) -> list[tuple[float, AssetInfo]]:
        """Return those that have the metric, the best first; of equal ones, the older."""
        if self._best is None:
            return []
        values = [(self._best.value(self._values[each.id]), each) for each in self._published]
        known = [(value, asset) for value, asset in values if value is not None]
        return sorted(known, key=lambda each: each[0])

    def _to_delete(self) -> Sequence[AssetInfo]:
        if self._keep is None:
            return ()
        if self._best is None:
            kept = [*self._published[-self._keep :]]
        else:
            known = [asset for _, asset in self._ranked()]
            unknown = [asset for asset in self._published if asset not in known]
            kept = [*known[: self._keep], *unknown[-self._keep :]]
        return [
            asset
            for asset in self._published
            if asset not in kept and not asset.aliases and asset.id not in self._tried
        ]


def _warn(text: str) -> None:
    # Where warnings are errors, or there is nowhere to print them, this one still ends no training.
    with suppress(Exception):
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def _count(name: str, value: object) -> int:
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{name} is a whole number from 1 on, not {shown(repr(value))}")
    return value


def _opened(store: str | os.PathLike[str] | Store | None) -> Store:
    if isinstance(store, Store):
        if store._entry is not None:
            raise InvalidInput("a snapshot of a store does not see what is published to it")
        return store
    settings = Settings.load(None)
    return prepared(settings.remote_url(None if store is None else given(store)), settings)


def _new_run() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
