"""Which of several assets is the best, by one of their metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ama.errors import InvalidInput, shown
from ama.format.objects import check_metadata
from ama.values import AssetInfo, Scalar


@dataclass(frozen=True, slots=True)
class Best:
    """The metric by which one checkpoint is better than another."""

    metric: str
    """Its key in the metadata."""
    sign: int
    """1 if less is better, -1 if more is."""

    @classmethod
    def parse(cls, text: str) -> Best:
        """Parse "min:loss" or "max:accuracy".

        Raises:
            InvalidInput: It has neither form.

        Example:
            >>> Best.parse("max:accuracy").value({"accuracy": 0.75})
            -0.75
        """
        direction, _, metric = text.partition(":")
        if direction not in ("min", "max") or not metric:
            raise InvalidInput(
                f'{shown(repr(text))} names no metric as "min:loss" or "max:accuracy" do'
            )
        check_metadata(metric, 0.0)
        return cls(metric, 1 if direction == "min" else -1)

    def of(self, ranked: Sequence[tuple[float, AssetInfo]]) -> AssetInfo | None:
        """Return the best one; a training that diverged has none."""
        return ranked[0][1] if ranked and ranked[0][0] != math.inf else None

    def improves(
        self, metadata: Mapping[str, Scalar], ranked: Sequence[tuple[float, AssetInfo]]
    ) -> bool:
        """Tell whether something new is better than all that is there."""
        new = self.value(metadata)
        return new is not None and new < (ranked[0][0] if ranked else math.inf)

    def value(self, metadata: Mapping[str, Scalar]) -> float | None:
        """Return the value, least first; of what is no number, that of the worst."""
        found = metadata.get(self.metric)
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            return None
        return math.inf if math.isnan(found) else self.sign * float(found)
