"""Processes that publish to one store at the same time: run by tests, as a script.

    python publishers.py CLIENT DIRECTORY COUNT [--alias ALIAS]

Each of COUNT processes works in DIRECTORY/0, DIRECTORY/1 and so on: without `--alias` a new
worktree, whose file and author are its number; with it the worktree that is there, changed. They
begin at once, when all are ready. For each a line is printed: its number, and how it ended.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

import ama
import ama.storage.fsspec
import ama.storage.network
from ama.errors import AmaError
from ama.operations import upload

assert upload  # what an upload needs is imported once, before the processes part


def publish(directory: Path, number: int, alias: str | None) -> str:
    place = directory / str(number)
    repo = ama.Repo.init(place, "models") if alias is None else ama.Repo.open(place)
    (place / "file").write_text(f"of {number}", encoding="utf-8")
    if alias is not None:
        (place / "changed").touch()
        repo.add(["changed"])
    repo.add(["file"])
    repo.set(message=f"by {number}", aliases=[] if alias is None else [alias])
    try:
        result = repo.upload()
    except AmaError as error:
        return f"{error.code} {error.message}"
    assert result.asset is not None
    return f"published {result.asset.number}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("client")
    parser.add_argument("directory", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--alias")
    options = parser.parse_args()
    importlib.import_module(options.client)
    hold, go = os.pipe()
    children = []
    for number in range(options.count):
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(hold, 1)  # returns when the last writer of the pipe is gone
            os.environ["AMA_CACHE_DIR"] = str(options.directory / f"cache-{number}")
            try:
                said = publish(options.directory, number, options.alias)
            except BaseException as error:  # noqa: BLE001 - of whatever kind
                said = f"{type(error).__name__} {error}"
            os.write(sys.stdout.fileno(), f"{number} {said}\n".encode())
            os._exit(0)
        children.append(child)
    os.close(go)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
