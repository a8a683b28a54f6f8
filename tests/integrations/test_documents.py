"""The examples of the documentation that need other packages: those marked `apart`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from test_docs import DOCUMENTS, Session, blocks

os.environ["KERAS_BACKEND"] = "jax"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"

WITH_EXAMPLES = [document for document in DOCUMENTS if blocks(document, apart=True)]

pytestmark = pytest.mark.filterwarnings("ignore")  # of what is integrated


@pytest.mark.usefixtures("ama_on_path")
@pytest.mark.parametrize("document", WITH_EXAMPLES, ids=lambda path: path.name)
def test_the_examples_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(tmp_path / "session", monkeypatch)
    for block in blocks(document, apart=True):
        if block.language == "console":
            session.console(document, block)
        else:
            session.python(document, block)


def test_there_are_some() -> None:
    assert [document.name for document in WITH_EXAMPLES] == ["pipelines.md"]
