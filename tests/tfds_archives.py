"""Runs the real TFDS builders offline, on small archives made here."""

import io
import tarfile
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core.download import checksums, resource

from pipelines.sources import prepare as preparing

tfds.disable_progress_bar()

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
IMAGENETTE_URL = "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz"
LM1B_URL = "http://www.statmt.org/lm-benchmark/1-billion-word-language-modeling-benchmark-r13output.tar.gz"


def prepare(name: str, data_dir: Path, archives: dict[str, bytes]) -> None:
    """Prepares dataset `name` in `data_dir`, as its command does; `archives` holds the content of each address."""
    builder = tfds.builder(name, data_dir=data_dir)
    registered = checksums.get_all_url_infos() | dict(builder.url_infos or {})
    cache = epath.Path(data_dir) / "downloads" / builder.name
    cache.mkdir(parents=True, exist_ok=True)
    for url, content in archives.items():
        path = cache / resource.get_dl_fname(url, registered[url].checksum)
        path.write_bytes(content)
        resource.write_info_file(
            url=url,
            path=path,
            dataset_name=builder.name,
            original_fname=url.rpartition("/")[2],
            url_info=registered[url],
        )
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    preparing.prepare(name, data_dir, config)


def tar(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """A tar archive of these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def lm1b_archive(train: list[str], test: list[str]) -> bytes:
    """The benchmark's archive, with these sentences as its training and its held-out part."""
    top = "1-billion-word-language-modeling-benchmark-r13output"
    files = {
        f"{top}/training-monolingual.tokenized.shuffled/news.en-00001-of-00100": train,
        f"{top}/heldout-monolingual.tokenized.shuffled/news.en.heldout-00000-of-00050": test,
    }
    return tar({name: ("\n".join(sentences) + "\n").encode() for name, sentences in files.items()})


def cifar10_archive(images: np.ndarray, labels: np.ndarray) -> bytes:
    """CIFAR-10's binary archive, images [n, 32, 32, 3] uint8 in five training files and the first n/5 again as test."""
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    files = {"cifar-10-batches-bin/batches.meta.txt": "\n".join(names).encode() + b"\n"}
    records = [bytes([label]) + image.transpose(2, 0, 1).tobytes() for image, label in zip(images, labels, strict=True)]
    fifth = len(records) // 5
    for i in range(5):
        files[f"cifar-10-batches-bin/data_batch_{i + 1}.bin"] = b"".join(records[i * fifth : (i + 1) * fifth])
    files["cifar-10-batches-bin/test_batch.bin"] = b"".join(records[:fifth])
    return tar(files)


def write_imagenet_archives(folder: Path, images: dict[str, list[bytes]]) -> None:
    """ImageNet's two archives, as its licence has people place them by hand: JPEGs by class, some as validation."""
    folder.mkdir(parents=True, exist_ok=True)
    classes = {
        f"{name}.tar": tar({f"{name}_{i}.JPEG": jpeg for i, jpeg in enumerate(jpegs)}, "w")
        for name, jpegs in images.items()
    }
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar(classes, "w"))
    some = next(iter(images.values()))
    validation = {f"ILSVRC2012_val_{i + 1:08d}.JPEG": jpeg for i, jpeg in enumerate(some)}
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar(validation, "w"))


def imagenette_archive(train: list[bytes], validation: list[bytes]) -> bytes:
    """Imagenette's archive at 160 pixels, all images of one class."""
    splits = {"train": train, "val": validation}
    return tar(
        {
            f"imagenette2-160/{split}/n01440764/{split}_{i}.JPEG": jpeg
            for split, jpegs in splits.items()
            for i, jpeg in enumerate(jpegs)
        }
    )
