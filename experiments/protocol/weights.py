"""Weights of a network in a file of NumPy arrays: what `experiments.backbone` writes and `model.init_from` reads.

Arrays are named by their path, such as `params/stem/kernel` and `batch_stats/stem_norm/mean`. The file is data: nothing
in it is run.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from experiments.protocol import files
from experiments.protocol.model import TrainState
from experiments.protocol.study import ConfigError


def write(path: Path, state: TrainState) -> None:
    """Puts the parameters and batch statistics of a state in place as a file, whole."""
    named = flatten_dict({"params": state.params, "batch_stats": state.model_state}, sep="/")
    content = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(array) for name, array in named.items()}
    np.savez(content, **arrays)
    files.write(path, content.getvalue())


def read(path: Path, sha256: str, shapes: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, np.ndarray]:
    """The arrays of a file that a network wants; what else is there is left alone.

    Args:
      path: of the file.
      sha256: its digest when the study was made.
      shapes: what is wanted, by path.

    Raises:
      ConfigError: the file cannot be read, is another one or damaged, or does not have all that is wanted.
    """
    named = f"config.model.init_from: {path}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{named}: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ConfigError(f"{named} is not the file that the study was made with")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            found = {name: stored[name] for name in shapes if name in stored}
    except Exception as error:  # whatever NumPy makes of damage
        raise ConfigError(f"{named} is damaged, or nothing that `python -m experiments.backbone` wrote") from error
    wrong = [name for name, shape in shapes.items() if name not in found or not _fits(found[name], shape)]
    if wrong:
        first = wrong[0]
        has = f"{found[first].dtype} {found[first].shape}" if first in found else "missing"
        raise ConfigError(
            f"{named} does not fit the backbone in {len(wrong)} of {len(shapes)} arrays; the first is {first}, which "
            f"is {has} and should be {shapes[first].dtype} {shapes[first].shape}"
        )
    return found


def _fits(array: np.ndarray, shape: jax.ShapeDtypeStruct) -> bool:
    return (array.shape, array.dtype) == (shape.shape, shape.dtype)
