"""Turns text into token sequences: bytes at small scale, SentencePiece subwords at paper scale.

Token 0 is padding everywhere: the loss ignores it, and the model reads it as the start of a sequence.
"""

import itertools
import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import sentencepiece
import tensorflow as tf
import tensorflow_datasets as tfds
from filelock import FileLock
from tqdm import tqdm

from pipelines import shards

_log = logging.getLogger(__name__)

PADDING, UNKNOWN, END = 0, 1, 2
SENTENCES_PER_SHARD = 250_000
VOCABULARY_SENTENCES = 1_000_000


class Reader(Protocol):
    """Text in two splits, train and validation, of `size(split)` numbered parts, each a sentence or some of them."""

    def size(self, split: str) -> int:
        """Parts in `split`."""

    def read(self, split: str, start: int, stop: int) -> Iterator[str]:
        """The sentences of parts `start` to `stop`."""


def byte_windows(text: str, length: int) -> np.ndarray:
    """Cuts text into windows of `length` bytes, one token a byte: [windows, length], int32; the rest is dropped."""
    tokens = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32)
    return tokens[: len(tokens) // length * length].reshape(-1, length)


LONGEST_SENTENCE = 4192
"""Bytes; SentencePiece's own limit."""


def train_vocabulary(sentences: Iterable[str], path: Path, vocab_size: int) -> None:
    """Trains a SentencePiece BPE vocabulary and writes it to `path`, whole or not at all.

    Raises:
      ValueError: the sentences are too few for one so large, or all too long.
    """
    unfinished = path.with_suffix(".unfinished")
    lengths = Lengths()
    with unfinished.open("wb") as out:
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=lengths.of(sentences),
                model_writer=out,
                vocab_size=vocab_size,
                model_type="bpe",
                pad_id=PADDING,
                unk_id=UNKNOWN,
                eos_id=END,
                bos_id=-1,
                max_sentence_length=LONGEST_SENTENCE,
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            raise ValueError(_what_does_not_fit(str(error), vocab_size, lengths)) from None
    if lengths.too_long:
        _log.warning("the vocabulary leaves out %s", lengths)
    os.replace(unfinished, path)


class Lengths:
    """Counts the sentences that pass, and those that SentencePiece leaves out."""

    def __init__(self) -> None:
        self.sentences = self.too_long = 0

    def of(self, sentences: Iterable[str]) -> Iterator[str]:
        """The sentences themselves."""
        for sentence in sentences:
            self.sentences += 1
            self.too_long += len(sentence.encode("utf-8")) > LONGEST_SENTENCE
            yield sentence

    def __str__(self) -> str:
        return f"{self.too_long:,} of {self.sentences:,} lines, which are longer than {LONGEST_SENTENCE:,} bytes"


def _what_does_not_fit(said: str, vocab_size: int, lengths: Lengths) -> str:
    if largest := re.search(r"value <= (\d+)", said):
        return (
            f"{lengths.sentences:,} lines are too few for a vocabulary of {vocab_size:,}; "
            f"the largest that fits is --config.data.vocab_size={largest[1]}"
        )
    if lengths.sentences == lengths.too_long:
        return f"there is nothing to make a vocabulary of: {lengths}"
    return f"no vocabulary of {vocab_size:,} can be made of {lengths.sentences:,} lines: {said.splitlines()[-1]}"


def load_vocabulary(path: Path) -> sentencepiece.SentencePieceProcessor:
    """Reads a vocabulary that `train_vocabulary` wrote."""
    return sentencepiece.SentencePieceProcessor(model_file=str(path), add_eos=True)


def write_tokens(sentences: Iterable[str], vocabulary: sentencepiece.SentencePieceProcessor, path: Path) -> None:
    """Tokenises sentences into one TFRecord file of uint16 sequences, END included, whole or not at all."""
    encoded = itertools.chain.from_iterable(map(vocabulary.encode, _chunks(sentences, 1000)))
    shards.write((np.asarray(ids, np.uint16).tobytes() for ids in encoded), path)


def prepare_subwords(sentences: Reader, folder: Path, vocab_size: int) -> None:
    """Trains the vocabulary on the training split and tokenises both splits into `folder`, once.

    Resumable: what a killed run finished stays, the rest is done by the next one. Several processes may call it at
    the same time; one works, the others wait for it.
    """
    if not 3 < vocab_size <= 65536:
        raise ValueError(f"vocab_size must be between 4 and 65536, got {vocab_size}")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        vocabulary_path = folder / "vocabulary.model"
        if not vocabulary_path.exists():
            first = itertools.islice(sentences.read("train", 0, VOCABULARY_SENTENCES), VOCABULARY_SENTENCES)
            train_vocabulary(first, vocabulary_path, vocab_size)
        vocabulary = load_vocabulary(vocabulary_path)
        for split in ("train", "validation"):
            size = sentences.size(split)
            for start in tqdm(range(0, size, SENTENCES_PER_SHARD), desc=f"tokenising {split}", unit="shard"):
                shard = folder / f"{split}-{start // SENTENCES_PER_SHARD:05d}.tfrecord"
                if shards.missing([shard]):
                    stop = min(start + SENTENCES_PER_SHARD, size)
                    write_tokens(sentences.read(split, start, stop), vocabulary, shard)


def read_tokens(paths: list[str], length: int, *, seed: int | None) -> tf.data.Dataset:
    """Reads tokenised shards: `{"tokens": [length]}` int32, cut or padded to `length`.

    With a seed: endless, the shards in a new order each epoch and 16 of them interleaved. Without: once, in order.
    """
    files = tf.data.Dataset.from_tensor_slices(sorted(paths))
    if seed is not None:
        files = files.shuffle(len(paths), seed=seed, reshuffle_each_iteration=True)

    def tokens(record: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = tf.cast(tf.io.decode_raw(record, tf.uint16)[:length], tf.int32)
        ids = tf.pad(ids, [[0, length - tf.shape(ids)[0]]], constant_values=PADDING)
        return {"tokens": tf.ensure_shape(ids, [length])}

    records = files.interleave(tf.data.TFRecordDataset, cycle_length=1 if seed is None else 16, block_length=16)
    if seed is not None:
        records = records.repeat()
    return records.map(tokens, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


class SentenceReader:
    """Sentences of a TFDS text dataset, a line each; `splits` maps train and validation to TFDS splits and sizes.

    An example of the dataset holds one sentence, as in LM1B, or a page of them, as in C4.
    """

    def __init__(
        self, builder: tfds.core.DatasetBuilder, splits: dict[str, tuple[str, int]], key: str = "text"
    ) -> None:
        self._builder, self._splits, self._key = builder, splits, key

    def size(self, split: str) -> int:
        """Examples in `split`: its listed size, or what is there where that is less."""
        name, listed = self._splits[split]
        return min(listed, self._builder.info.splits[name].num_examples)

    def read(self, split: str, start: int, stop: int) -> Iterator[str]:
        """The sentences of examples `start` to `stop` of `split`, empty ones left out."""
        name = f"{self._splits[split][0]}[{start}:{min(stop, self.size(split))}]"
        for example in self._builder.as_dataset(split=name).as_numpy_iterator():
            yield from filter(None, example[self._key].decode("utf-8").split("\n"))


def _chunks(items: Iterable[str], size: int) -> Iterator[list[str]]:
    chunk: list[str] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
