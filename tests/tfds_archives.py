"""Runs the real TFDS builders offline, on small archives made here."""

import io
import tarfile
from pathlib import Path

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core.download import checksums, resource

tfds.disable_progress_bar()

LM1B_URL = "http://www.statmt.org/lm-benchmark/1-billion-word-language-modeling-benchmark-r13output.tar.gz"


def prepare(name: str, data_dir: Path, archives: dict[str, bytes]) -> None:
    """Prepares dataset `name` in `data_dir`; `archives` holds the content behind each address it downloads."""
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
    builder.download_and_prepare(download_dir=cache.parent, download_config=config)


def lm1b_archive(train: list[str], test: list[str]) -> bytes:
    """The benchmark's archive, with these sentences as its training and its held-out part."""
    top = "1-billion-word-language-modeling-benchmark-r13output"
    files = {
        f"{top}/training-monolingual.tokenized.shuffled/news.en-00001-of-00100": train,
        f"{top}/heldout-monolingual.tokenized.shuffled/news.en.heldout-00000-of-00050": test,
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, sentences in files.items():
            content = ("\n".join(sentences) + "\n").encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
