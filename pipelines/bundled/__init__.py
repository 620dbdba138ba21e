"""Reads the bundled arrays; `README.md` says where they come from."""

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


class BundleDamaged(FileNotFoundError):
    """A bundled file is absent or not what was bundled; the message says which and what restores it."""


def load_fashion_mnist() -> dict[str, np.ndarray]:
    """Fashion-MNIST's first examples, all uint8: `{train,test}_images` [n, 28, 28] and `{train,test}_labels` [n].

    Raises:
      BundleDamaged: the file is absent or not what was bundled.
    """
    return _load("fashion_mnist")


def load_photographs() -> list[np.ndarray]:
    """The colour photographs, uint8 [height, width, 3] each, in the order of their names.

    Raises:
      BundleDamaged: the file is absent or not what was bundled.
    """
    return [photograph for _, photograph in sorted(_load("photographs").items())]


def expected_hash(name: str) -> str:
    """The hash that SHA256SUMS lists for a bundle's content."""
    return dict(line.split()[::-1] for line in (HERE / "SHA256SUMS").read_text().splitlines())[name]


def hash_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """The sha256 of arrays in the order of their names: of each its name, type, shape and bytes."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()


def _load(name: str) -> dict[str, np.ndarray]:
    path = HERE / f"{name}.npz"
    remedy = (
        f"restore it with `git checkout pipelines/bundled/{path.name}` or `python -m pipelines.bundled.build {name}`"
    )
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {Path(member).stem: _read_array(archive, member) for member in archive.namelist()}
    except FileNotFoundError as error:
        raise BundleDamaged(f"{path} is missing; {remedy}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise BundleDamaged(f"{path} is damaged ({error}); {remedy}") from error
    if hash_arrays(arrays) != expected_hash(name):
        raise BundleDamaged(f"{path} is not the bundled file (its hash differs); {remedy}")
    return arrays


def _read_array(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
