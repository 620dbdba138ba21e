"""Images from the bundle and through the real TFDS builders, on archives made here; an update of the paper's config."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tfds_archives

from experiments import workloads
from experiments.protocol import trial
from experiments.protocol.study import make_study
from pipelines.sources import composites
from pipelines.sources import images as image_sources
from pipelines.sources import registry as sources
from pipelines.sources.bundled import load_fashion_mnist
from pipelines.sources.presence import DatasetMissing
from pipelines.transforms import images

SMALL = {"source": "fashion_mnist", "size": 14, "padding": 2, "train_examples": 200, "validation_examples": 50}
CROPS = {"smallest_area": 0.08, "colour_strength": 0.4, "corrupt": "fail"}


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
    archive = tfds_archives.imagenette_archive(jpegs, jpegs[:3])
    tfds_archives.prepare("imagenette/160px-v2", folder, {tfds_archives.IMAGENETTE_URL: archive})
    return folder


def test_cifar10_reads_the_builders_images_and_holds_the_last_out(data_dir):
    settings = {
        "source": "cifar10",
        "data_dir": str(data_dir),
        "padding": 4,
        "validation_examples": 20,
        "corrupt": "fail",
    }
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
    source = sources.load(settings | CROPS)
    assert [e["image"].shape for e in source.validation().as_numpy_iterator()] == [(32, 32, 3)] * 3
    shapes = {example["image"].shape for example in source.train(0).take(20).as_numpy_iterator()}
    assert shapes == {(60, 80, 3), (90, 50, 3), (64, 64, 3), (70, 70, 3)}
    augmented = source.augment({"image": tf.zeros([1, 60, 80, 3], tf.uint8), "label": [1]}, [0, 0])
    assert augmented["image"].shape == (1, 32, 32, 3)


def test_missing_imagenet_says_how_to_prepare_it(tmp_path):
    settings = {"source": "imagenet2012", "data_dir": str(tmp_path), "size": 32, "validation_examples": 3}
    with pytest.raises(DatasetMissing, match="imagenet2012 is not prepared"):
        sources.load(settings | CROPS)


def jpeg(size=16):
    return tf.io.encode_jpeg(tf.fill([size, size, 3], tf.constant(90, tf.uint8))).numpy()


DAMAGED = [jpeg(), jpeg()[:200], jpeg(), b"no image", b"", jpeg(), jpeg(15), jpeg(), jpeg()]
LABELS = [0, 1, 2, 3, 4, 5, 6, 10, 8]


def raw_examples():
    names = [f"shard__{i}" for i in range(len(DAMAGED))]
    return tf.data.Dataset.from_tensor_slices({"image": DAMAGED, "label": LABELS, "name": names})


def decode_checked(size):
    return lambda example: images.check_label(images.decode(size)(example), classes=10)


def prepared(decode, corrupt, raw=raw_examples):
    preparation = image_sources.Preparation(decode, images.pad_crop_flip(1), lambda example: example, corrupt)
    return preparation.source(lambda *_: raw().repeat(), raw, lambda: raw().take(1))


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
@pytest.mark.parametrize("size", [16, None])
def test_damaged_examples_are_named(chunk, size):
    """Truncated, no image, empty, of another size, with a label out of range; at the start and end of chunks."""
    names = images.damaged(raw_examples(), decode_checked(size), chunk=chunk).as_numpy_iterator()
    lost = [1, 3, 4, *([6] if size else []), 7]
    assert list(names) == [f"shard__{i}".encode() for i in lost]


@pytest.mark.parametrize("size", [16, None])
def test_damaged_examples_are_skipped_named_and_counted(caplog, size):
    source = prepared(decode_checked(size), "skip")
    lost = {1, 3, 4, 7} | ({6} if size else set())
    kept = [i for i in range(9) if i not in lost]
    twice = source.train(0).take(2 * len(kept))
    assert [int(example["label"]) for example in twice] == kept * 2
    assert [f"shard__{i}" for i in sorted(lost)] == [message.split()[1][:-1] for message in caplog.messages]
    assert f"({len(lost)} in all)" in caplog.messages[-1]
    next(iter(source.train(1)))
    assert len(caplog.messages) == len(lost)  # looked for once


def test_a_damaged_example_ends_the_run_and_is_looked_for_then():
    source = prepared(decode_checked(16), "fail")
    with pytest.raises(tf.errors.InvalidArgumentError):
        list(source.train(0).take(9))
    assert next(source.damaged()) == "shard__1"


@pytest.mark.parametrize("damage", [b"no image", b"", jpeg(15)])
def test_a_set_without_an_image_that_can_be_decoded_is_an_error(damage):
    def raw():
        names = [f"shard__{i}" for i in range(5)]
        return tf.data.Dataset.from_tensor_slices({"image": [damage] * 5, "label": [0] * 5, "name": names})

    with pytest.raises(DatasetMissing, match="none of the 5 training images can be decoded, such as shard__0"):
        prepared(decode_checked(16), "skip", raw).train(0)


def test_only_decoding_is_forgiven(tmp_path):
    """A truncated record file stays an error, or a damaged disk would look like a smaller data set."""
    path = tmp_path / "images.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as out:
        for _ in range(5):
            features = {"image": composites.bytes_feature(jpeg()), "label": composites.int64_feature([1])}
            out.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    path.write_bytes(path.read_bytes()[:-20])
    source = prepared(decode_checked(16), "skip", lambda: image_sources.read_images(tf.constant(str(path))))
    with pytest.raises(tf.errors.DataLossError):
        list(source.train(0))


def test_unknown_ways_with_damage_are_refused():
    with pytest.raises(ValueError, match=r"data.corrupt must be fail or skip, got 'ignore'"):
        prepared(decode_checked(16), "ignore")


COMPOSITES = {"source": "composites", "stored_size": 40, "size": 24, "train_examples": 60, "validation_examples": 20}


def test_composites_are_decoded_upstream_and_cropped_for_evaluation(tmp_path):
    source = sources.load(COMPOSITES | CROPS | {"data_dir": str(tmp_path), "shards": 3})
    epoch = list(source.train(0).take(60).as_numpy_iterator())
    assert {example["image"].shape for example in epoch} == {(40, 40, 3)}
    assert len({example["image"].tobytes() for example in epoch}) == 60
    other = list(source.train(1).take(60).as_numpy_iterator())
    assert [e["image"].tobytes() for e in epoch] != [e["image"].tobytes() for e in other]
    assert {e["image"].tobytes() for e in epoch} == {e["image"].tobytes() for e in other}
    validation = list(source.validation().as_numpy_iterator())
    assert [example["image"].shape for example in validation] == [(24, 24, 3)] * 20
    again = sources.load(COMPOSITES | CROPS | {"data_dir": str(tmp_path), "shards": 3})
    for first, second in zip(validation, again.validation().as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(first["image"], second["image"])


def test_a_pixel_is_enlarged_to_the_crop():
    """Images smaller than the crop are scaled up, by augmentation and evaluation."""
    image = tf.constant([[[10, 200, 30]]], tf.uint8)
    crop = images.random_resized_crop(8, smallest_area=0.08, colour_strength=0.0)
    augmented = crop({"image": image[None]}, tf.constant([1, 2], tf.int64))["image"][0]
    evaluated = images.centre_crop(8)({"image": image})["image"]
    for enlarged in (augmented, evaluated):
        np.testing.assert_array_equal(enlarged, np.broadcast_to(image, (8, 8, 3)))


def test_imagenets_form_has_a_validation_split_of_its_own(data_dir):
    """What is held out of training otherwise is trained on then."""
    for dataset, train_size, validation_size in (("imagenet2012", 12, 4), ("imagenette/160px-v2", 4, 3)):
        settings = workloads.load("resnet50_imagenet", "gpu").data.to_dict() | {"data_dir": str(data_dir)}
        settings |= {"dataset": dataset, "validation_examples": validation_size}
        source = sources.load(settings)
        assert len(list(source.validation())) == validation_size
        shapes = [example["image"].shape for example in source.train(0).take(train_size).as_numpy_iterator()]
        assert sorted(shapes) == sorted([(60, 80, 3), (90, 50, 3), (64, 64, 3), (70, 70, 3)] * (train_size // 4))
        with pytest.raises(ValueError, match=f"must be 1 to {validation_size}, got {validation_size + 1}"):
            sources.load(settings | {"validation_examples": validation_size + 1})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workload", "sizes"),
    [
        ("resnet32_cifar10", {"batch_size": "4"}),
        ("resnet50_imagenet", {"batch_size": "4", "model.ghost_batch_size": "2"}),
    ],
)
def test_one_update_of_the_papers_config(data_dir, workload, sizes):
    """Shrunk in batch and buffer only (for ImageNet the virtual batches too): the model keeps its size."""
    sizes = sizes | {"data.data_dir": str(data_dir), "data.validation_examples": "4"}
    config = workloads.load(workload, "paper", sizes | {"eval_batch_size": "4", "shuffle_buffer": "20"})
    study = dataclasses.replace(make_study(config, "example_before_augmentation", 2), budget_steps=1)
    measurements = []
    point = {"learning_rate": 0.1, "momentum": 0.9, "decay_share": 0.5}
    result = trial.run(study, 0, 0, point, bound_steps=lambda: None, record=measurements.append)
    assert result.sgd_steps == 1
    assert 0 <= measurements[0].value <= 1
