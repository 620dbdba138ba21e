"""What a running trial saves, so that it goes on where it was: state, position of the pipeline, counts, measurements.

    trial000/checkpoints/<updates>/state/         parameters, statistics and velocity
                                   pipeline/      the pipeline's iterator, its buffers included
                                   progress/      everything else
                                   digests.json   of the files above

A checkpoint is put in place whole, the newest two are kept, and a damaged one is passed over for the one before it.
"""

import dataclasses
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
import tensorflow as tf

from experiments.protocol import files
from experiments.protocol.study import Measurement

KEPT = 2
PIPELINE_BYTES = 8 * 2**30
"""A pipeline that holds more is not saved: a trial that goes on fills its buffers anew, from another seed, and says so.
"""

_log = logging.getLogger(__name__)


@dataclasses.dataclass
class Progress:
    """How far a trial has come.

    `first_loss` is that of its first update, `seconds` what it took so far. `refilled_after` are the numbers of updates
    after which the pipeline began anew, since it had not been saved.
    """

    updates: int = 0
    first_loss: float | None = None
    steps_to_target: int | None = None
    examples_read: int = 0
    seconds: float = 0.0
    refilled_after: list[int] = dataclasses.field(default_factory=list)
    measurements: list[Measurement] = dataclasses.field(default_factory=list)

    @staticmethod
    def of(fields: dict[str, Any]) -> "Progress":
        """From what `dataclasses.asdict` made of one."""
        measurements = [Measurement(**measurement) for measurement in fields["measurements"]]
        return Progress(**{**fields, "measurements": measurements})


class Checkpoints:
    """The checkpoints of one trial, in a folder of their own, made every so many seconds and when it shall stop."""

    def __init__(self, folder: Path, every_seconds: float, check: Callable[[], None] = lambda: None) -> None:
        """`check` is called before each is written, and raises where that must not be."""
        self._check = check
        self._folder = folder.absolute()
        self._every_seconds = every_seconds
        self._saved = time.monotonic()
        self._saving = 0
        self._opened: ocp.CheckpointManager | None = None

    def exist(self) -> bool:
        """Whether there is something to restore."""
        return bool(self._newest_first())

    def due(self) -> bool:
        """Whether the time has come to save."""
        return time.monotonic() - self._saved >= self._every_seconds

    def save(self, state: Any, pipeline: Iterator[Any] | None, progress: Progress) -> None:
        """Saves, in the background once all has been copied; `pipeline` None leaves it out."""
        self._check()
        if self._opened is None:  # trials that take seconds never get here
            options = ocp.AsyncOptions(post_finalization_callback=self._add_digests)
            self._opened = ocp.CheckpointManager(
                self._folder, options=ocp.CheckpointManagerOptions(max_to_keep=KEPT, async_options=options)
            )
        self._opened.wait_until_finished()
        self._saving = progress.updates
        items = {"state": ocp.args.StandardSave(state), "progress": ocp.args.JsonSave(dataclasses.asdict(progress))}
        if pipeline is not None:
            items["pipeline"] = _Pipeline(pipeline)
        self._opened.save(progress.updates, args=ocp.args.Composite(**items))
        self._saved = time.monotonic()

    def restore(self, state: Any, pipeline: Iterator[Any] | None) -> tuple[Any, Progress, bool] | None:
        """The state, how far the trial had come, and whether the pipeline's position was put back; None if nothing is.

        Args:
          state: shapes, types and shardings of what is restored.
          pipeline: an iterator at its start, put where it was; None for one that cannot be.
        """
        for folder in self._newest_first():
            try:
                _check_digests(folder)
                items = {"state": ocp.args.StandardRestore(state), "progress": ocp.args.JsonRestore()}
                if pipeline is not None and (folder / "pipeline").is_dir():
                    items["pipeline"] = _Pipeline(pipeline)
                with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
                    found = reader.restore(folder, args=ocp.args.Composite(**items))
                return found["state"], Progress.of(found["progress"]), "pipeline" in items
            except Exception as error:  # whatever its readers make of damage
                said = str(error).splitlines()[0] if str(error) else type(error).__name__
                _log.warning("%s is damaged (%s); the checkpoint before it is used, if there is one", folder, said)
        return None

    def finish(self) -> None:
        """Waits until what is being saved is in place."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def forget(self) -> None:
        """Removes all of them."""
        self.finish()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        numbered = [path for path in self._folder.glob("*") if path.name.isdecimal()]
        return sorted(numbered, key=lambda path: int(path.name), reverse=True)

    def _add_digests(self) -> None:
        """Called when all files are written, before or after the checkpoint is put in place."""
        for folder in self._folder.glob(f"{self._saving}*"):
            (folder / "digests.json").write_text(json.dumps(_digests(folder)), encoding="utf-8")


class _PipelineHandler(ocp.CheckpointHandler):
    """Saves and restores iterators of tf.data, each process its own."""

    def save(self, directory: Any, args: "_Pipeline") -> None:
        tf.train.Checkpoint(pipeline=args.iterator).write(str(directory / f"process{jax.process_index()}"))

    def restore(self, directory: Any, args: "_Pipeline") -> None:
        saved = tf.train.Checkpoint(pipeline=args.iterator).read(str(directory / f"process{jax.process_index()}"))
        saved.assert_consumed()


@ocp.args.register_with_handler(_PipelineHandler, for_save=True, for_restore=True)
@dataclasses.dataclass
class _Pipeline(ocp.args.CheckpointArgs):
    iterator: Iterator[Any]


def _digests(folder: Path) -> dict[str, str]:
    digested = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in _NOT_DIGESTED)
    return {str(path.relative_to(folder)): files.sha256(path) for path in digested}


_NOT_DIGESTED = ("digests.json", "_CHECKPOINT_METADATA", "commit_success.txt")  # written when it is put in place


def _check_digests(folder: Path) -> None:
    expected = json.loads((folder / "digests.json").read_text(encoding="utf-8"))
    if _digests(folder) != expected:
        raise ValueError("its files are not those that were saved")
