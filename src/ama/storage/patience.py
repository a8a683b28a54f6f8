"""How long a storage across a network is waited for, and how often it is asked again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

SLOWEST = 100_000
"""Bytes a second that a request moves at the least: one that is slower is taken for stuck."""


@dataclass(frozen=True, slots=True)
class Patience:
    """When a request is given up, and when it is tried again.

    Attributes:
        timeout: Seconds that a request may take, besides those that its bytes need at `SLOWEST`.
        retries: How often a request that failed for the moment is made again.
        first_pause: Seconds before the first retry, about; each later pause is twice as long.
        longest_pause: Seconds that a pause has at most, unless the server asks for more.

    Example:
        >>> Patience(timeout=60).limit(32_000_000)
        380.0
    """

    timeout: float = 60
    retries: int = 6
    first_pause: float = 0.25
    longest_pause: float = 20

    def limit(self, size: int) -> float:
        """Return the seconds after which a request that moves so many bytes is cut."""
        return self.timeout + size / SLOWEST

    def pauses(self) -> Iterator[float]:
        """Yield the seconds to wait before each retry.

        They grow exponentially, and half of each is random, so that many who failed at the same
        moment don't come back at the same moment.
        """
        for attempt in range(self.retries):
            longest = min(self.first_pause * 2**attempt, self.longest_pause)
            yield longest * random.uniform(0.5, 1)
