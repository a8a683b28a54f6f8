"""Zips become assets, read by Ray's workers on all machines of a cluster.

    python examples/ray_import.py STORE CLASS ZIP...

The workers send the content, and one entry after the other is published here. They reach the store
and the zips under the same URLs, so these are in a bucket, or on a disk that all machines share.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import ray

import ama


class RayExecutor(Executor):
    """What Ray lacks of `concurrent.futures`: it has futures, but nothing to submit work to."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Start work on a worker."""
        future: Future[Any] = ray.remote(work).remote(*args, **named).future()
        return future


def main() -> None:
    place, class_name, *zips = sys.argv[1:]
    store = ama.Store.open(place, create=True)
    ray.init()
    result = ama.import_assets(
        zips, class_name, store=store, alias="{name}", executor=RayExecutor()
    )
    ray.shutdown()
    for asset in result.assets:
        print(f"{asset.name}@{asset.alias}: {asset.source}")
    for failed in result.failed:
        print(f"{failed.source}: {failed.reason}", file=sys.stderr)
    sys.exit(1 if result.failed else 0)


if __name__ == "__main__":
    main()
