"""Reads the bundled data; `README.md` says where they come from."""

import hashlib
import lzma
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


def load_text(name: str) -> str:
    """A bundled text, `brown` or `public_domain`: documents divided by blank lines.

    Raises:
      BundleDamaged: the file is absent or not what was bundled.
    """
    path = HERE / f"{name}.txt.xz"
    try:
        content = lzma.decompress(path.read_bytes())
    except FileNotFoundError as error:
        raise BundleDamaged(f"{path} is missing; {_remedy(path)}") from error
    except (lzma.LZMAError, EOFError) as error:
        raise BundleDamaged(f"{path} is damaged ({error}); {_remedy(path)}") from error
    if hashlib.sha256(content).hexdigest() != expected_hash(f"{name}.txt"):
        raise BundleDamaged(f"{path} is not the bundled file (its hash differs); {_remedy(path)}")
    return content.decode("utf-8")


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
    try:
        with np.load(path) as archive:
            arrays = dict(archive)
    except FileNotFoundError as error:
        raise BundleDamaged(f"{path} is missing; {_remedy(path)}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise BundleDamaged(f"{path} is damaged ({error}); {_remedy(path)}") from error
    if hash_arrays(arrays) != expected_hash(name):
        raise BundleDamaged(f"{path} is not the bundled file (its hash differs); {_remedy(path)}")
    return arrays


def _remedy(path: Path) -> str:
    name = path.name.partition(".")[0]
    return (
        f"restore it with `python -m pipelines.sources.bundled.build {name}`, or, in a git checkout, "
        f"`git checkout pipelines/sources/bundled/{path.name}`"
    )
