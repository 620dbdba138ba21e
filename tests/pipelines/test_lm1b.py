"""The paper-scale path of LM1B: the real builder, SentencePiece, the token cache, one update of the paper's config."""

import dataclasses

import numpy as np
import pytest
import tfds_archives

from experiments import workloads
from experiments.protocol import trial
from experiments.protocol.study import make_study
from pipelines.sources import bundled
from pipelines.sources import registry as sources
from pipelines.sources.source import tfds_builder
from pipelines.transforms import text

SETTINGS = {"source": "lm1b", "vocab_size": 300, "length": 24, "validation_examples": 40}


@pytest.fixture(scope="module")
def sentences():
    lines = [line for line in bundled.load_text("brown").split("\n") if line][:700]
    return lines[:600], lines[600:]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, sentences):
    folder = tmp_path_factory.mktemp("tfds")
    tfds_archives.prepare("lm1b", folder, {tfds_archives.LM1B_URL: tfds_archives.lm1b_archive(*sentences)})
    return folder


@pytest.fixture(scope="module")
def lm1b(data_dir):
    return sources.load(SETTINGS | {"data_dir": str(data_dir)})


def test_examples_are_the_builders_sentences(lm1b, data_dir, sentences):
    folder = next((data_dir / "data_echoing").iterdir())
    vocabulary = text.load_vocabulary(folder / "vocabulary.model")
    expected = set()
    for ids in vocabulary.encode(sentences[0]):
        expected.add(tuple(ids[:24]))
    iterator = lm1b.train(0).as_numpy_iterator()
    read = [next(iterator)["tokens"] for _ in range(600)]
    assert all(tokens.shape == (24,) and tokens.dtype == np.int32 for tokens in read)
    assert {tuple(int(t) for t in tokens if t) for tokens in read} == expected
    assert all(tokens.max() < 300 for tokens in read)


def test_validation_is_the_first_held_out_sentences_in_order(lm1b):
    first, second = (list(lm1b.validation().as_numpy_iterator()) for _ in range(2))
    assert len(first) == 40
    assert all(np.array_equal(a["tokens"], b["tokens"]) for a, b in zip(first, second, strict=True))


def test_tokenising_resumes_where_it_was_killed(data_dir, tmp_path, monkeypatch):
    builder = tfds_builder("lm1b", str(data_dir))
    reader = text.SentenceReader(builder, {"train": ("train", 10**9), "validation": ("test", 40)})
    monkeypatch.setattr(text, "SENTENCES_PER_SHARD", 100)
    written = []
    write = text.write_tokens

    def dies_at_the_fourth(sentences, vocabulary, path):
        written.append(path.name)
        if len(written) == 4:
            path.with_suffix(".unfinished").write_bytes(b"half a shard")
            raise KeyboardInterrupt
        write(sentences, vocabulary, path)

    monkeypatch.setattr(text, "write_tokens", dies_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        text.prepare_subwords(reader, tmp_path, 300)
    assert len(list(tmp_path.glob("*.tfrecord"))) == 3
    text.prepare_subwords(reader, tmp_path, 300)
    shards = sorted(path.name for path in tmp_path.glob("*.tfrecord"))
    assert len(shards) == 7
    assert len(written) == 8
    ends = list(text.read_tokens([str(p) for p in tmp_path.glob("train-*")], 500, seed=None).as_numpy_iterator())
    assert len(ends) == 600
    assert all((example["tokens"] == text.END).sum() == 1 for example in ends)


@pytest.mark.slow
def test_one_update_of_the_papers_config(data_dir):
    """Shrunk in batch, buffers and vocabulary only: the model keeps its size."""
    config = workloads.load(
        "transformer_lm1b",
        "paper",
        {
            "data.data_dir": str(data_dir),
            "data.vocab_size": "300",
            "data.validation_examples": "8",
            "batch_size": "4",
            "eval_batch_size": "8",
            "shuffle_buffer": "50",
        },
    )
    assert config.model.vocab_size == 300
    study = dataclasses.replace(make_study(config, "example", 2), budget_steps=1)
    measurements = []
    point = {"learning_rate": 0.1, "momentum": 0.9}
    result = trial.run(study, 0, 0, point, bound_steps=lambda: None, record=measurements.append)
    assert result.sgd_steps == 1
    assert 3 < measurements[0].value < 9


def test_a_vocabulary_that_is_too_large_names_the_largest_that_fits(tmp_path):
    path = tmp_path / "vocabulary.model"
    with pytest.raises(ValueError, match=r"50 lines are too few for a vocabulary of 32,000; .*vocab_size=\d+") as said:
        text.train_vocabulary((f"line {i} of few" for i in range(50)), path, 32_000)
    assert not path.exists()
    text.train_vocabulary((f"line {i} of few" for i in range(50)), path, int(str(said.value).rpartition("=")[2]))


def test_lines_that_are_too_long_are_counted(tmp_path, caplog):
    lines = [f"line {i} of few" for i in range(50)] + ["long " * 2_000] * 2
    text.train_vocabulary(lines, tmp_path / "vocabulary.model", 40)
    assert "leaves out 2 of 52 lines, which are longer than 4,192 bytes" in caplog.text
    with pytest.raises(ValueError, match="nothing to make a vocabulary of: 2 of 2 lines"):
        text.train_vocabulary(lines[-2:], tmp_path / "other.model", 40)
