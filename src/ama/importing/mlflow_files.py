"""Files that say what MLflow knows of a run: parameters, metrics with histories, and the rest.

They are written so that a catalog reads them: parameters as parameters, metrics as metrics.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ama.catalog.documents import MAX_SIZE
from ama.contents.scalars import scalar_of

PLACE = "mlflow"
"""The directory that they are in, unless the run has something there."""

_LEFT_OUT = ("mlflow.log-model.history",)
"""Tags that say again which models were logged, at any length."""


class Value(NamedTuple):
    """A value of a metric, with its step and time in milliseconds."""

    step: int
    time: int
    value: float


Histories = Mapping[str, Sequence[Value]]


def params_file(params: Mapping[str, str]) -> bytes:
    """Return parameters as JSON; texts that are numbers become numbers.

    Example:
        >>> params_file({"lr": "0.1", "model.layers": "3"}).decode()
        '{"lr": 0.1, "model": {"layers": 3}}'
    """
    return _json(_nested({key: _scalar(text) for key, text in params.items()}))


def metrics_files(histories: Histories) -> dict[str, bytes]:
    r"""Return metrics as a table with a row a step, under the name of a file.

    A table that is too long for a catalog is accompanied by the last values.

    Example:
        >>> metrics_files({"loss": [Value(0, 0, 0.5), Value(1, 1000, 0.25)]})["metrics.csv"]
        b'step,loss,time\n0,0.5,1970-01-01T00:00:00+00:00\n1,0.25,1970-01-01T00:00:01+00:00\n'
    """
    names = sorted(name for name, values in histories.items() if values)
    if not names:
        return {}
    rows: dict[tuple[int, int], dict[str, Value]] = {}
    for name in names:
        times: dict[int, int] = {}
        # A directory of MLflow's has a value again for each model that was logged with it.
        for value in sorted(set(histories[name])):
            again = times[value.step] = times.get(value.step, -1) + 1
            rows.setdefault((value.step, again), {})[name] = value
    table = [(step, rows[step, again]) for step, again in sorted(rows)]
    # A column of a number's name would make the row of names one of values.
    is_plain = all(isinstance(scalar_of(name), str) for name in names)
    if is_plain:
        found = {"metrics.csv": _csv(names, table)}
    else:
        found = {"metrics.jsonl": _json_lines(table)}
    if any(len(data) > MAX_SIZE for data in found.values()):
        last = {name: max(histories[name]).value for name in names}
        found["last_metrics.json"] = _json(_nested(last))
    return found


def info_file(facts: Mapping[str, Any], tags: Mapping[str, str], datasets: Sequence[Any]) -> bytes:
    """Return the rest as JSON.

    Args:
        facts: What is known of a run or a version.
        tags: Its tags.
        datasets: Its datasets, as MLflow has them: each with its tags.
    """
    said = {key: value for key, value in facts.items() if value is not None}
    kept = {key: text for key, text in tags.items() if key not in _LEFT_OUT}
    if kept:
        said["tags"] = _nested({key: _scalar(text) for key, text in kept.items()})
    if datasets:
        said["datasets"] = [_dataset(each) for each in datasets]
    return json.dumps(said, ensure_ascii=False, indent=1).encode("utf-8", "replace")


def time_of(milliseconds: int | None) -> datetime | None:
    """Return a time of MLflow; None if there is none.

    Example:
        >>> time_of(1790000000000).year
        2026
    """
    try:
        return None if not milliseconds else datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _dataset(each: Any) -> dict[str, Any]:
    said = each.dataset
    facts = {"name": said.name, "digest": said.digest, "source_type": said.source_type}
    for key in ("source", "schema", "profile"):
        text = getattr(said, key, None)
        try:
            facts[key] = json.loads(text) if text else None
        except ValueError:
            facts[key] = text
    contexts = [tag.value for tag in each.tags or () if tag.key == "mlflow.data.context"]
    facts["context"] = contexts[0] if contexts else None
    return {key: value for key, value in facts.items() if value is not None}


def _csv(names: Sequence[str], table: Sequence[tuple[int, Mapping[str, Value]]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    own = {name: name for name in ("step", "time")}
    for name in own:
        while own[name] in names:
            own[name] = f"mlflow_{own[name]}"
    writer.writerow([own["step"], *names, own["time"]])
    for step, row in table:
        cells = [repr(row[name].value) if name in row else "" for name in names]
        writer.writerow([step, *cells, _time_text(row)])
    return text.getvalue().encode("utf-8", "replace")


def _json_lines(table: Sequence[tuple[int, Mapping[str, Value]]]) -> bytes:
    lines = [
        _json({"step": step, **{name: value.value for name, value in row.items()}})
        for step, row in table
    ]
    return b"\n".join([*lines, b""])


def _time_text(row: Mapping[str, Value]) -> str:
    found = time_of(min(value.time for value in row.values()))
    if found is None:
        found = datetime.fromtimestamp(0, UTC)
    return found.isoformat()


def _scalar(text: str) -> str | int | float | bool:
    found = scalar_of(text)
    return text if isinstance(found, float) and not math.isfinite(found) else found


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted names as tables; as they are, if one name is a part of another."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        table = found
        *above, last = name.split(".")
        for part in above:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                return dict(values)
        if last in table:
            return dict(values)
        table[last] = value
    return found


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
