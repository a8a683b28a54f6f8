"""Keras: a callback that publishes checkpoints while a model is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import keras

from ama.checkpoints import STEP, Checkpoints
from ama.errors import InvalidInput, shown
from ama.operations.session import plain


class PublishCheckpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Publishes the model while it is trained; see `ama.Checkpoints`.

    A step is an epoch, counted from 1, or a batch, counted over all epochs. The numbers in Keras's
    logs are the metrics. The end of the training waits for what is being published.

    Args:
        class_name: The class of the checkpoints.
        save_freq: "epoch", or a number of batches.
        save_weights_only: Whether to publish `model.weights.h5`, and not `model.keras`.
        options: The other arguments of `ama.Checkpoints`, such as `store`, `run`, `keep`, `best`.

    Attributes:
        checkpoints: The `ama.Checkpoints`.

    Raises:
        InvalidInput, NotFound, StorageError: See `ama.Checkpoints`.
    """

    def __init__(
        self,
        class_name: str,
        *,
        save_freq: int | Literal["epoch"] = "epoch",
        save_weights_only: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        self._by_epoch = save_freq == "epoch"
        if not self._by_epoch:
            if isinstance(save_freq, str):
                raise InvalidInput(
                    f"save_freq is 'epoch' or a number of batches, not {shown(repr(save_freq))}"
                )
            options["every"] = save_freq
        self._name = "model.weights.h5" if save_weights_only else "model.keras"
        self.checkpoints = Checkpoints(class_name, **options)
        self._batches = 0
        if not self._by_epoch and self.checkpoints.published:
            self._batches = int(self.checkpoints.published[-1].metadata[STEP])

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Take a checkpoint, if one is due."""
        if not self._by_epoch:
            self._batches += 1
            self._step(self._batches, logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Take a checkpoint, if one is due."""
        if self._by_epoch:
            self._step(epoch + 1, logs)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Wait for what is being published.

        Raises:
            AmaError: See `ama.Checkpoints.close`.
        """
        self.checkpoints.close()

    def _step(self, step: int, logs: Mapping[str, Any] | None) -> None:
        values = {key: plain(value) for key, value in (logs or {}).items()}
        metrics = {key: value for key, value in values.items() if isinstance(value, (int, float))}
        self.checkpoints.step(step, self._save, metrics)

    def _save(self, directory: Path) -> None:
        path = directory / self._name
        if path.suffix == ".keras":
            self.model.save(path)
        else:
            self.model.save_weights(path)
