"""The Keras callback, with the real Keras on JAX: `make integrations`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy
import pytest

os.environ["KERAS_BACKEND"] = "jax"
keras = pytest.importorskip("keras")

import ama  # noqa: E402
from ama.integrations.keras import PublishCheckpoint  # noqa: E402

# Keras's own, with a NumPy that is newer.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def store(tmp_path: Path) -> ama.Store:
    return ama.Store.open(tmp_path / "store", create=True)


INPUTS = numpy.linspace(-1, 1, 64).reshape(32, 2)
TARGETS = INPUTS.sum(axis=1)


def model() -> Any:
    made = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    made.compile("adam", "mse")
    return made


def train(*callbacks: Any, epochs: int = 3, **more: Any) -> Any:
    made = model()
    fit = {"epochs": epochs, "batch_size": 8, "verbose": 0, **more}
    made.fit(INPUTS, TARGETS, callbacks=list(callbacks), **fit)
    return made


def steps(store: ama.Store) -> list[object]:
    return [asset.metadata["step"] for asset in reversed(store.assets("runs"))]


def test_a_checkpoint_for_each_epoch(store: ama.Store, tmp_path: Path) -> None:
    publish = PublishCheckpoint("runs", store=store, run="r", best="min:val_loss")
    trained = train(publish, validation_split=0.25)
    publish.checkpoints.wait()
    newest = store.resolve("runs@r-latest")
    assert newest.info.metadata["step"] == 3
    assert set(newest.info.metadata) >= {"loss", "val_loss", "run"}
    assert [file.path for file in newest.files()] == ["model.keras"]
    newest.download(tmp_path / "copy")
    loaded = keras.models.load_model(tmp_path / "copy" / "model.keras")
    expected = trained.predict(INPUTS, verbose=0)
    numpy.testing.assert_array_equal(loaded.predict(INPUTS, verbose=0), expected)
    losses = {asset.metadata["val_loss"]: asset.id for asset in store.assets("runs")}
    assert store.resolve("runs@r-best").info.id == losses[min(losses)]
    assert publish.checkpoints.failures == ()


def test_weights_by_batches_and_a_second_training(store: ama.Store, tmp_path: Path) -> None:
    options: dict[str, Any] = {"store": store, "run": "r", "save_weights_only": True}
    train(PublishCheckpoint("runs", save_freq=5, **options))  # 12 batches
    assert steps(store)[-1] == 10
    trained = train(PublishCheckpoint("runs", save_freq=5, **options))  # 10 + 12
    assert steps(store)[-1] == 20
    store.download("runs@r-latest", tmp_path / "copy")
    other = model()
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "copy" / "model.weights.h5")
    assert [w.shape for w in other.get_weights()] == [w.shape for w in trained.get_weights()]
    assert store.resolve("runs@r-latest").parents()


def test_every_second_epoch_the_best_two(store: ama.Store) -> None:
    publish = PublishCheckpoint("runs", store=store, every=2, keep=2, best="max:loss")
    made = model()
    for epoch in range(0, 8, 2):
        made.fit(
            INPUTS, TARGETS, initial_epoch=epoch, epochs=epoch + 2, verbose=0, callbacks=[publish]
        )
    # The loss falls, so the worst by it are the newest.
    assert steps(store) == [2, 4, 8]


def test_a_failure_ends_no_training(tmp_path: Path) -> None:
    place = tmp_path / "store"
    publish = PublishCheckpoint("runs", store=place, on_error="warn")
    place.write_text("a file where the store should be")
    with pytest.warns(RuntimeWarning, match="not published"):
        assert train(publish).optimizer.iterations == 12
    assert publish.checkpoints.failures


def test_what_is_refused(store: ama.Store) -> None:
    with pytest.raises(ama.InvalidInput, match="save_freq"):
        PublishCheckpoint("runs", store=store, save_freq="batch")  # type: ignore[arg-type]
    with pytest.raises(ama.InvalidInput):
        PublishCheckpoint("runs", store=store, save_freq=0)
    with pytest.raises(ama.InvalidInput, match="no metric"):
        PublishCheckpoint("runs", store=store, best="val_loss")
    with pytest.raises(TypeError, match="bests"):
        PublishCheckpoint("runs", store=store, bests="min:loss")
