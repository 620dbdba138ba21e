"""Advice for a call of Keras' `fit`. Needs Keras.

from echoing.advice.keras_fit import advise_fit

print(advise_fit(model, dataset, epochs=10))    # instead of model.fit(dataset, epochs=10)
"""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from .advise import Advice, advise


def advise_fit(model: "keras.Model", *arguments: Any, seconds: float = 0.5, rounds: int = 3, **named: Any) -> Advice:
    """What `advise` says of the training that `model.fit` with the same arguments would do.

    Some steps are taken to time them; afterwards the weights and the optimizer's state are what they were.

    Args:
      model: compiled.
      arguments: those of `model.fit`, of which data, batch size and epochs matter; likewise `named`.
      seconds: see `advise`.
      rounds: see `advise`.

    Raises:
      TypeError: `fit` does not take such arguments, or no data are given.
      PipelineEnded: the data are a generator that ends too early to be timed; hand over what can be read again.
    """
    fit = inspect.signature(model.fit).bind(*arguments, **named)
    fit.apply_defaults()
    x, y, weights = (fit.arguments[name] for name in ("x", "y", "sample_weight"))
    if x is None:
        raise TypeError("no data: hand over what you hand to fit")
    loader: Any = x
    if isinstance(x, keras.utils.PyDataset):
        loader = _Read(x)
    elif y is not None or isinstance(x, np.ndarray):
        loader = _Sliced((x, y, weights), fit.arguments["batch_size"] or 32)
    if iter(loader) is not loader:
        _build(model, next(iter(loader)))

    def step(batch: Any) -> None:
        model.train_on_batch(*keras.utils.unpack_x_y_sample_weight(batch))

    variables = [*model.variables, *model.optimizer.variables]
    kept = [np.array(variable) for variable in variables]
    try:
        return advise(loader, step, epochs=fit.arguments["epochs"], seconds=seconds, rounds=rounds)
    finally:
        for variable, value in zip(variables, kept, strict=True):
            variable.assign(value)
        model.reset_metrics()


def _build(model: "keras.Model", batch: Any) -> None:
    """Makes all variables of a model and its optimizer, so that they can be kept and put back."""
    if not model.built:
        model.predict_on_batch(keras.utils.unpack_x_y_sample_weight(batch)[0])
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


class _Read:
    """The batches of a `PyDataset`, one epoch an iteration."""

    def __init__(self, dataset: "keras.utils.PyDataset") -> None:
        self._dataset = dataset

    def __iter__(self) -> Iterator[Any]:
        for index in range(len(self)):
            yield self._dataset[index]
        self._dataset.on_epoch_end()

    def __len__(self) -> int:
        return int(self._dataset.num_batches)


class _Sliced:
    """Batches of arrays in memory: nested arrays, None where there are none."""

    def __init__(self, arrays: Sequence[Any], size: int) -> None:
        self._arrays = tuple(part for part in arrays if part is not None)
        self._size = size
        self._examples = len(keras.tree.flatten(arrays[0])[0])

    def __iter__(self) -> Iterator[Any]:
        for first in range(0, self._examples, self._size):
            part = slice(first, first + self._size)
            yield keras.tree.map_structure(lambda array, part=part: array[part], self._arrays)

    def __len__(self) -> int:
        return -(-self._examples // self._size)
