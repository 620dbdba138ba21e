import lzma
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from experiments import workloads
from pipelines.sources import bundled
from pipelines.sources import registry as sources
from pipelines.sources.presence import DatasetMissing
from pipelines.transforms import text

BROWN = {"source": "brown", "length": 32, "validation_examples": 512}


def decoded(example):
    return bytes(example["tokens"].astype(np.uint8)).decode()


@pytest.fixture(scope="module")
def brown():
    return sources.load(BROWN)


def test_validation_comes_from_documents_never_trained_on(brown):
    documents = bundled.load_text("brown").strip().split("\n\n")
    assert len(documents) == 500
    held_out = "\n".join(documents[19::20])
    training = "\n".join(d for i, d in enumerate(documents) if i % 20 != 19)
    validation = [decoded(e) for e in brown.validation().as_numpy_iterator()]
    assert len(validation) == 512
    longest = [max(window.split("\n"), key=len) for window in validation]
    assert all(piece in held_out for piece in longest)
    assert np.mean([piece in training for piece in longest if len(piece) > 20]) < 0.05


def test_training_reads_every_window_once_an_epoch_in_an_order_of_its_own(brown):
    first = next(brown.train(0).batch(170_000).as_numpy_iterator())["tokens"]
    assert first.dtype == np.int32
    assert first.shape[1] == 32
    assert first.min() > 0
    assert first.max() < 128
    epoch = len({window.tobytes() for window in first})
    assert epoch > 0.99 * len(first)
    other = next(brown.train(1).as_numpy_iterator())["tokens"]
    assert not np.array_equal(first[0], other)


def test_public_domain_pages_are_unlike_the_brown_corpus():
    """The Brown corpus's commonest four-letter pieces cover much less of the other text than of itself."""
    brown, pages = (bundled.load_text(name) for name in ("brown", "public_domain"))
    assert pages.isascii()
    assert len(pages.split("\n\n")) == 1371
    counts = [Counter(text[i : i + 4] for i in range(0, len(text), 4)) for text in (brown, pages)]
    common = [piece for piece, _ in counts[0].most_common(2000)]
    own, other = (sum(count[piece] for piece in common) / count.total() for count in counts)
    assert other < 0.9 * own


def test_public_domain_holds_pages_out():
    source = sources.load(BROWN | {"source": "public_domain"})
    pages = bundled.load_text("public_domain").strip().split("\n\n")
    held_out = "\n".join(pages[19::20])
    validation = [decoded(e) for e in source.validation().as_numpy_iterator()]
    assert len(validation) == 512
    assert all(max(window.split("\n"), key=len) in held_out for window in validation)


def test_byte_windows_cut_text_without_loss():
    windows = text.byte_windows("hello world, again", 5)
    assert windows.tolist() == [list(b"hello"), list(b" worl"), list(b"d, ag")]


@pytest.mark.parametrize("damage", ["missing", "truncated", "other content", "garbage"])
def test_damaged_bundle_is_named_with_a_remedy(damage, tmp_path, monkeypatch):
    whole = (bundled.HERE / "brown.txt.xz").read_bytes()
    contents = {"truncated": whole[:1000], "other content": lzma.compress(b"else"), "garbage": b"not xz at all"}
    (tmp_path / "SHA256SUMS").write_text((bundled.HERE / "SHA256SUMS").read_text())
    if damage in contents:
        (tmp_path / "brown.txt.xz").write_bytes(contents[damage])
    monkeypatch.setattr(bundled, "HERE", tmp_path)
    with pytest.raises(bundled.BundleDamaged, match=r"git checkout pipelines/sources/bundled/brown\.txt\.xz"):
        sources.load(BROWN)


@pytest.mark.parametrize("examples", [0, 10**9])
def test_bad_validation_size_is_named(examples):
    with pytest.raises(ValueError, match="validation_examples"):
        sources.load(BROWN | {"validation_examples": examples})


def test_dataset_that_is_not_prepared_is_named_with_a_remedy(tmp_path):
    with pytest.raises(DatasetMissing, match=r"lm1b is not prepared in .*pipelines.sources.prepare lm1b"):
        sources.load(
            {"source": "lm1b", "data_dir": str(tmp_path), "vocab_size": 100, "length": 8, "validation_examples": 8}
        )


@pytest.mark.parametrize("name", workloads.WORKLOADS)
@pytest.mark.parametrize("scale", ["gpu", "paper"])
def test_data_that_are_not_there_are_missed_before_anything_is_loaded(tmp_path, name, scale):
    data = workloads.load(name, scale).data.to_dict() | {"data_dir": str(tmp_path)}
    code = f"import sys; from pipelines.sources import presence; print(*sys.modules); presence.check({data})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "tensorflow" not in done.stdout.split()
    if data.get("dataset") == "wet":
        assert done.returncode == 0
        return
    assert done.returncode == 1
    assert "is not prepared in" in done.stderr and "python -m pipelines.sources.prepare" in done.stderr
