"""The job of mission.sh through Python: two assets, a link between them, and a download.

    python examples/mission.py [DIRECTORY]

Works in DIRECTORY (a temporary one if none is given) on a copy of examples/sample, and keeps its
store there.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import ama

SAMPLE = Path(__file__).parent / "sample"


def train(training: Path) -> None:
    """Uploads the output of a training run as two assets, the model linked to its inputs."""
    inputs = ama.Repo.init(path=training, class_name="nlp_embeddings")
    inputs.add(["git_commit_info_ckpt0.yml", "run_config_ckpt0.yml", "training.yml"])
    inputs.set(aliases=["my_training_inputs"])
    inputs.upload()

    model = ama.Repo.init(path=training, class_name="sequence_models")
    model.add(["graph_version.txt", "meta.yml", "model.h5", "model.yml", "summary_dict.json"])
    model.set(aliases=["my_model"], metadata={"framework": "keras"})
    model.link("nlp_embeddings@my_training_inputs", label="inputs")
    result = model.upload(message="First training")
    for published in result.published:
        print(f"uploaded {published.name} to {result.remote}: {result.bytes_sent:,} bytes sent")


def use(colleague: Path) -> None:
    """What a colleague does elsewhere: who made the model, from what? And then fetch it."""
    store = ama.Store.default()
    model = store.resolve("sequence_models@my_model")
    print(f"{model.info.name} by {model.info.author}, {model.info.created_at:%Y-%m-%d %H:%M} UTC")
    for source in model.refs():
        print(f"  made from {source.info.name}: {', '.join(file.path for file in source.files())}")
    print(f"  model.h5: {len(model.read('model.h5')):,} bytes")

    result = store.download("sequence_models@my_model", colleague / "my_model", refs=True)
    for downloaded in (result, *result.refs):
        print(f"downloaded {downloaded.asset.name} into {downloaded.directory}")


def main() -> None:
    place = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()).absolute()
    training, colleague = place / "training", place / "colleague"
    training.mkdir(parents=True)
    colleague.mkdir()
    for source in SAMPLE.iterdir():
        shutil.copy(source, training)

    # Without these, the store would be made in your user data directory.
    for name in ("data", "cache", "config"):
        os.environ[f"AMA_{name.upper()}_DIR"] = str(place / name)
    os.environ.pop("AMA_REMOTE", None)

    train(training)
    use(colleague)


if __name__ == "__main__":
    main()
