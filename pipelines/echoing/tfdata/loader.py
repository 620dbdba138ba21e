"""tf.data pipelines as the advisor sees them: with their stages named, or a dataset of batches as it is."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from ..advice.loaders import HELD_BATCHES, Loader, endless, places_of, timed_buffer
from .datasets import numpy_items
from .echo import echo
from .stages import Stages, Transform, split
from .timing import behind_echo, hold, overlapping, upstream_batches

READ_AHEAD = 2
AHEAD = f"read ahead: dataset.prefetch({READ_AHEAD}) at the end"
MAPS_IN_PARALLEL = "run its maps in parallel: num_parallel_calls=tf.data.AUTOTUNE in each, and prefetch at the end"
PARALLEL = "read in parallel: dataset.map(read, num_parallel_calls=tf.data.AUTOTUNE), and prefetch at the end"


@dataclass(frozen=True)
class Pipeline:
    """A training pipeline in the stages that echoing can be inserted between.

    Args:
      examples: read and decoded, one example an item; or what `read` makes them of.
      batch_size: examples a batch.
      shuffle_buffer: examples.
      augment: the stage that augments examples, dataset to dataset, None if there is none.
      read: makes an example of an item, as `Dataset.map` takes it, None where `examples` are read already.
      batched: makes batches of examples, dataset to dataset, by default `batch(batch_size)`; `padded_batch` may be
        needed where shapes vary.
      run_as: sets the options of every dataset that is timed; by default they are the examples' own.
      parallel: whether `read` runs in parallel.
      prefetch: batches read ahead at the end.

    Raises:
      ValueError: the examples look like batches.
    """

    examples: tf.data.Dataset
    batch_size: int
    shuffle_buffer: int
    augment: Transform | None = None
    read: Callable[..., Any] | None = None
    batched: Transform | None = None
    run_as: Transform = lambda dataset: dataset
    parallel: bool = False
    prefetch: int = READ_AHEAD

    def __post_init__(self) -> None:
        shapes = [spec.shape for spec in tf.nest.flatten(self.examples.element_spec) if isinstance(spec, tf.TensorSpec)]
        leading = {shape[0] for shape in shapes if shape.rank}
        if len(shapes) > 1 and all(shape.rank for shape in shapes) and leading in ({None}, {self.batch_size}):
            raise ValueError(
                f"the examples look like batches, their shapes are {', '.join(map(str, shapes))}: hand over the "
                "dataset itself instead of a Pipeline, or unbatch() it"
            )

    @property
    def places(self) -> Sequence[str]:
        """See Loader."""
        return places_of(self.augment is not None)

    @property
    def length(self) -> int | None:
        """See Loader."""
        examples = _length(self.examples)
        return None if examples is None else max(1, examples // self.batch_size)

    @property
    def buffer(self) -> int:
        """See Loader."""
        return self.shuffle_buffer

    def batches(self) -> Iterable[Any]:
        """See Loader."""
        return numpy_items(self._build(replace(self._stages("baseline", 1), read_ahead=0)))

    def upstream(self, place: str) -> Iterable[Any]:
        """See Loader."""
        stages = self._stages(place, 2)
        items = self._split(stages)[0](self._examples())
        return upstream_batches(self.run_as(items), stages)

    def downstream(self, place: str) -> Iterable[Any]:
        """See Loader."""
        stages = self._stages(place, 2)
        return numpy_items(behind_echo(self._examples(), stages, self._split(stages)))

    def echoed(self, place: str, e: float) -> Iterable[Any]:
        """See Loader."""
        return numpy_items(self._build(self._stages(place, e)))

    def code(self, place: str, e: float) -> str:
        """See Loader."""
        if place == "batch":
            return f"dataset = echo(dataset.batch(...), {e:g}, seed=0, chunk=1)  # from echoing.tfdata.echo import echo"
        behind = {"example_after_augmentation": "augment(examples)"}.get(place, "examples")
        return (
            f"examples = echo({behind}, {e:g}, seed=0).shuffle({round(e * self.shuffle_buffer)})"
            "  # from echoing.tfdata.echo import echo"
        )

    def remedies(self) -> Mapping[str, Loader]:
        """See Loader."""
        found: dict[str, Loader] = {}
        if not self.prefetch:
            found[AHEAD] = replace(self, prefetch=READ_AHEAD)
        if self.read is not None and not self.parallel:
            found[PARALLEL] = replace(self, parallel=True, prefetch=READ_AHEAD)
        return found

    def _examples(self) -> tf.data.Dataset:
        items = self.examples if _is_endless(self.examples) else self.examples.repeat()
        if self.read is None:
            return items
        return items.map(self.read, num_parallel_calls=tf.data.AUTOTUNE if self.parallel else None)

    def _stages(self, place: str, e: float) -> Stages:
        buffer = timed_buffer(e * self.shuffle_buffer, self.batch_size)
        return replace(overlapping(Stages(place, e, self.batch_size, buffer)), prefetch=self.prefetch)

    def _split(self, stages: Stages) -> tuple[Transform, Transform]:
        return split(
            stages, seed=0, augment=self.augment or (lambda dataset: dataset), run_as=self.run_as, batched=self.batched
        )

    def _build(self, stages: Stages) -> tf.data.Dataset:
        upstream, downstream = self._split(stages)
        return downstream(upstream(self._examples()))


@dataclass(frozen=True)
class DatasetBatches:
    """A dataset of batches, as `Dataset.batch` makes them; steps get NumPy arrays, or ragged and sparse tensors."""

    dataset: tf.data.Dataset
    places: Sequence[str] = ("batch",)
    buffer: int = 0

    @property
    def length(self) -> int | None:
        """See Loader."""
        return _length(self.dataset)

    def batches(self) -> Iterable[Any]:
        """See Loader."""
        return endless(lambda: _items(self.dataset))

    def upstream(self, place: str) -> Iterable[Any]:
        """See Loader."""
        return self.batches()

    def downstream(self, place: str) -> Iterable[Any]:
        """See Loader."""
        return _items(hold(self.dataset if _is_endless(self.dataset) else self.dataset.repeat(), HELD_BATCHES))

    def echoed(self, place: str, e: float) -> Iterable[Any]:
        """See Loader."""
        echoed = echo(self.dataset.prefetch(READ_AHEAD), e, seed=0, chunk=1).prefetch(READ_AHEAD)
        return endless(lambda: _items(echoed))

    def code(self, place: str, e: float) -> str:
        """See Loader."""
        return (
            f"dataset = echo(dataset.prefetch({READ_AHEAD}), {e:g}, seed=0, chunk=1).prefetch({READ_AHEAD})"
            "  # from echoing.tfdata.echo import echo"
        )

    def remedies(self) -> Mapping[str, Loader]:
        """See Loader."""
        options = tf.data.Options()
        options.autotune.enabled = True
        options.experimental_optimization.map_parallelization = True
        ahead = self.dataset.prefetch(READ_AHEAD)
        parallel = DatasetBatches(ahead.with_options(options))
        return {AHEAD: DatasetBatches(ahead), MAPS_IN_PARALLEL: parallel}


def _items(dataset: tf.data.Dataset) -> Iterator[Any]:
    if all(isinstance(spec, tf.TensorSpec) for spec in tf.nest.flatten(dataset.element_spec)):
        return numpy_items(dataset)
    return iter(dataset)


def _length(dataset: tf.data.Dataset) -> int | None:
    items = int(dataset.cardinality())
    return items if items >= 0 else None


def _is_endless(dataset: tf.data.Dataset) -> bool:
    return int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY
