"""Where sentences come from: bundled text, LM1B, Common Crawl. Tokens are made once, then read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.sources.bundled import load_text
from pipelines.sources.crawl import PageReader
from pipelines.sources.presence import DatasetMissing
from pipelines.sources.source import Source, in_memory, tfds_builder
from pipelines.transforms import text

# Training sentences, as tensorflow-datasets lists them once LM1B is prepared.
LM1B_SENTENCES = 30_301_028


def bundled_windows(*, name: str, length: int, validation_examples: int, shards: int = 64) -> Source:
    """A bundled text in windows of `length` bytes, `{"tokens": [length]}` int32: stand-in for LM1B or Common Crawl.

    Like theirs, its training sentences are in a fixed random order. Every 20th document is kept for validation.
    Each epoch reads the `shards` parts of the training text in a new order.
    """
    documents = [document.split("\n") for document in load_text(name).strip().split("\n\n")]
    held_out = [sentence for document in documents[19::20] for sentence in document]
    training = [sentence for i, document in enumerate(documents) if i % 20 != 19 for sentence in document]

    def windows(sentences: list[str]) -> np.ndarray:
        order = np.random.default_rng(0).permutation(len(sentences))
        return text.byte_windows("\n".join(sentences[i] for i in order), length)

    train_windows, validation_windows = windows(training), windows(held_out)
    if not 0 < validation_examples <= len(validation_windows):
        raise ValueError(f"validation_examples must be 1 to {len(validation_windows)}, got {validation_examples}")
    return in_memory({"tokens": train_windows}, {"tokens": validation_windows[:validation_examples]}, shards)


def lm1b(*, data_dir: str, vocab_size: int, length: int, validation_examples: int) -> Source:
    """LM1B through TensorFlow Datasets, one sentence an example: `{"tokens": [length]}` int32 subwords.

    The vocabulary is trained on the training split and both splits are tokenised once, into
    `data_dir/data_echoing/`. Validation: the first sentences of TFDS's test split, which LM1B holds out.
    """
    builder = tfds_builder("lm1b", data_dir)
    splits = {"train": ("train", LM1B_SENTENCES), "validation": ("test", validation_examples)}
    name = f"lm1b-{vocab_size}-{validation_examples}"
    return subwords(text.SentenceReader(builder, splits), data_dir, name, vocab_size, length)


def common_crawl(
    *, dataset: str, data_dir: str, vocab_size: int, length: int, train_pages: int, validation_examples: int
) -> Source:
    """Pages of Common Crawl, one line an example: `{"tokens": [length]}` int32 subwords, made as LM1B's are.

    `dataset` is `c4/en` or `c4/en.noclean`, read through TensorFlow Datasets from `data_dir`, or `wet`, the pages
    that `crawl.py` prepared in it. At most `train_pages` of them are used. Validation: the first lines held out.
    """
    reader: text.Reader
    if dataset == "wet":
        reader = PageReader(Path(data_dir).expanduser(), {"train": train_pages, "validation": validation_examples})
        if not (reader.size("train") and reader.size("validation")):
            raise DatasetMissing(
                f"{data_dir} has no prepared pages in both splits; run `python -m pipelines.sources.crawl prepare "
                f"--wet=FOLDER --out={data_dir}` or name their folder with --config.data.data_dir=FOLDER"
            )
    elif dataset in ("c4/en", "c4/en.noclean"):
        splits = {"train": ("train", train_pages), "validation": ("validation", validation_examples)}
        reader = text.SentenceReader(tfds_builder(dataset, data_dir), splits)
    else:
        raise ValueError(f"data.dataset must be c4/en, c4/en.noclean or wet, got {dataset!r}")
    pages = "-".join(str(reader.size(split)) for split in ("train", "validation"))  # more may be prepared later
    name = f"{dataset.replace('/', '_')}-{vocab_size}-{pages}"
    source = subwords(reader, data_dir, name, vocab_size, length)
    return replace(source, validation=lambda: source.validation().take(validation_examples))


def subwords(reader: text.Reader, data_dir: str, name: str, vocab_size: int, length: int) -> Source:
    """Sentences as subwords, tokenised once, into `data_dir/data_echoing/name/`, by a vocabulary of their own."""
    folder = Path(data_dir).expanduser() / "data_echoing" / name
    text.prepare_subwords(reader, folder, vocab_size)

    def shards(split: str) -> list[str]:
        return [str(path) for path in folder.glob(f"{split}-*.tfrecord")]

    def part(seed: int, number: int, parts: int) -> tf.data.Dataset:
        files = sorted(shards("train"))
        if len(files) < parts:
            return text.read_tokens(files, length, seed=seed).shard(parts, number)
        return text.read_tokens(files[number::parts], length, seed=seed)

    return Source(
        train=lambda seed: text.read_tokens(shards("train"), length, seed=seed),
        validation=lambda: text.read_tokens(shards("validation"), length, seed=None),
        part=part,
    )
