"""Images from the bundle and through the real TFDS builders, on archives made here; an update of the paper's config."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tfds_archives

from experiments import trial, workloads
from experiments.study import make_study
from pipelines import images, sources
from pipelines.bundled import load_fashion_mnist

SMALL = {"source": "fashion_mnist", "size": 14, "padding": 2, "train_examples": 200, "validation_examples": 50}


def test_fashion_mnist_is_shrunk_by_averaging_and_split_as_published():
    source, arrays = sources.load(SMALL), load_fashion_mnist()
    validation = list(source.validation().as_numpy_iterator())
    assert len(validation) == 50
    block = arrays["test_images"][7][4:6, 10:12].astype(float).mean()
    assert abs(int(validation[7]["image"][2, 5, 0]) - block) <= 0.5
    assert [int(e["label"]) for e in validation] == arrays["test_labels"][:50].tolist()
    epoch = next(source.train(0).batch(200).as_numpy_iterator())
    assert sorted(epoch["label"]) == sorted(arrays["train_labels"][:200])
    assert epoch["image"].dtype == np.uint8
    assert epoch["image"].shape == (200, 14, 14, 1)


@pytest.mark.parametrize("change", [{"size": 13}, {"train_examples": 10**6}, {"validation_examples": 0}])
def test_bad_settings_are_named(change):
    with pytest.raises(ValueError, match="data"):
        sources.load(SMALL | change)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (100, 32, 32, 3), np.uint8)
    archive = tfds_archives.cifar10_archive(pixels, np.arange(100) % 10)
    tfds_archives.prepare("cifar10", folder, {tfds_archives.CIFAR10_URL: archive})
    photograph = generator.integers(0, 256, (8, 8, 3), np.uint8)
    jpegs = [
        tf.io.encode_jpeg(tf.cast(tf.image.resize(photograph, size), tf.uint8)).numpy()
        for size in ((60, 80), (90, 50), (64, 64), (70, 70))
    ]
    classes = {name: jpegs for name in ("n01440764", "n01443537", "n01530575")}
    tfds_archives.write_imagenet_archives(folder / "downloads" / "manual", classes)
    tfds_archives.prepare("imagenet2012", folder, {})
    return folder


def test_cifar10_reads_the_builders_images_and_holds_the_last_out(data_dir):
    settings = {"source": "cifar10", "data_dir": str(data_dir), "padding": 4, "validation_examples": 20}
    source = sources.load(settings)
    validation = list(source.validation().as_numpy_iterator())
    assert len(validation) == 20
    train = next(source.train(0).batch(80).as_numpy_iterator())
    assert train["image"].shape == (80, 32, 32, 3)
    seen = {image.tobytes() for image in train["image"]}
    assert len(seen) == 80
    assert not seen & {example["image"].tobytes() for example in validation}


def test_imagenet_reads_jpegs_of_any_shape(data_dir):
    settings = {"source": "imagenet2012", "data_dir": str(data_dir), "size": 32, "validation_examples": 3}
    source = sources.load(settings | {"smallest_area": 0.08, "colour_strength": 0.4})
    assert [e["image"].shape for e in source.validation().as_numpy_iterator()] == [(32, 32, 3)] * 3
    shapes = {example["image"].shape for example in source.train(0).take(20).as_numpy_iterator()}
    assert shapes == {(60, 80, 3), (90, 50, 3), (64, 64, 3), (70, 70, 3)}
    augmented = source.augment({"image": tf.zeros([1, 60, 80, 3], tf.uint8), "label": [1]}, [0, 0])
    assert augmented["image"].shape == (1, 32, 32, 3)


def test_missing_imagenet_says_how_to_prepare_it(tmp_path):
    settings = {"source": "imagenet2012", "data_dir": str(tmp_path), "size": 32, "validation_examples": 3}
    with pytest.raises(sources.DatasetMissing, match="imagenet2012 is not prepared"):
        sources.load(settings | {"smallest_area": 0.08, "colour_strength": 0.4})


def test_corrupt_jpeg_is_an_error():
    jpeg = tf.io.encode_jpeg(tf.zeros([16, 16, 3], tf.uint8)).numpy()
    with pytest.raises(tf.errors.InvalidArgumentError):
        images.decode()({"image": tf.constant(jpeg[: len(jpeg) // 2])})


def test_one_update_of_the_papers_cifar_config(data_dir):
    """Shrunk in batch and buffer only: the model keeps its size."""
    sizes = {"data.data_dir": str(data_dir), "data.validation_examples": "4", "batch_size": "4"}
    config = workloads.load("resnet32_cifar10", "paper", sizes | {"eval_batch_size": "4", "shuffle_buffer": "20"})
    study = dataclasses.replace(make_study(config, "example_before_augmentation", 2), budget_steps=1)
    measurements = []
    point = {"learning_rate": 0.1, "momentum": 0.9, "decay_share": 0.5}
    result = trial.run(study, 0, 0, point, bound_steps=lambda: None, record=measurements.append)
    assert result.sgd_steps == 1
    assert 0 <= measurements[0].value <= 1
