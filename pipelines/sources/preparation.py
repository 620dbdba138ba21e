"""What becomes of undecoded examples: decoding, augmentation, and what damaged ones do to a run."""

import functools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tensorflow as tf

from pipelines.echoing.tfdata.stages import Augment, Example
from pipelines.sources.presence import DatasetMissing
from pipelines.sources.source import UNREADABLE, Source
from pipelines.transforms import images

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preparation:
    """What becomes of undecoded examples.

    decode: of one example; `corrupt` says what becomes of damaged ones in training: `fail` ends the run with their
      names, `skip` looks through the training examples once before and leaves them out. Damaged validation images
      always fail.
    augment: of a chunk of decoded ones in training, as in `Source`; `evaluation` is done to each one instead.
    """

    decode: Callable[[Example], Example]
    augment: Augment
    evaluation: Callable[[Example], Example]
    corrupt: str

    def __post_init__(self) -> None:
        if self.corrupt not in ("fail", "skip"):
            raise ValueError(f"data.corrupt must be fail or skip, got {self.corrupt!r}")

    def source(
        self,
        train: Callable[[int, int, int], tf.data.Dataset],
        epoch: Callable[[], tf.data.Dataset],
        validation: Callable[[], tf.data.Dataset],
    ) -> Source:
        """The source of undecoded examples that are prepared.

        Args:
          train: them, endlessly, by a seed, the number of a part and of parts.
          epoch: the same, each once, in any order.
          validation: those to evaluate on.

        Raises:
          DatasetMissing: by reading, where no training example can be decoded.
        """

        @functools.cache
        def skipped() -> list[bytes]:
            return self._skipped(epoch()) if self.corrupt == "skip" else []

        def training(seed: int, part: int = 0, parts: int = 1) -> tf.data.Dataset:
            return images.decode_all(images.without(train(seed, part, parts), skipped()), self.decode)

        def evaluated() -> tf.data.Dataset:
            return images.decode_all(validation(), self.decode).map(self.evaluation)

        def damaged() -> Iterator[str]:
            for undecoded in (validation(), epoch()):
                yield from (name.decode() for name in images.damaged(undecoded, self.decode).as_numpy_iterator())

        return Source(training, evaluated, self.augment, damaged, training)

    def _skipped(self, undecoded: tf.data.Dataset) -> list[bytes]:
        names = list(images.damaged(undecoded, self.decode).as_numpy_iterator())
        if names and next(images.without(undecoded, names).take(1).as_numpy_iterator(), None) is None:
            raise DatasetMissing(
                f"none of the {len(names)} training images can be decoded, such as {names[0].decode()}"
            )
        for name in names:
            _log.warning("skipped %s: %s (%d in all)", name.decode(), UNREADABLE, len(names))
        return names
