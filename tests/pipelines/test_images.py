import numpy as np
import pytest
import tensorflow as tf

from pipelines.echoing.tfdata.stages import Stages, build
from pipelines.transforms import images

SEED = tf.constant([1, 2], tf.int64)


def gradient(count=200, height=12, width=12, channels=1):
    """Images whose pixels tell where they were: value = 10 row + column + 1, so that black means padding."""
    grid = 10 * np.arange(height)[:, None] + np.arange(width) + 1
    return np.broadcast_to(grid[None, :, :, None], (count, height, width, channels)).astype(np.uint8)


def test_pad_crop_flip_against_a_slow_reference():
    originals = gradient(height=10, width=10)
    augmented = images.pad_crop_flip(2)({"image": tf.constant(originals)}, SEED)["image"].numpy()
    padded = np.pad(originals[0, :, :, 0], 2)
    candidates = {}
    for top in range(5):
        for left in range(5):
            crop = padded[top : top + 10, left : left + 10]
            candidates[crop.tobytes()] = (top, left, False)
            candidates[crop[:, ::-1].tobytes()] = (top, left, True)
    found = [candidates[image[:, :, 0].tobytes()] for image in augmented]
    assert len(set(found)) > 40
    assert 0.35 < np.mean([flipped for *_, flipped in found]) < 0.65
    assert {top for top, *_ in found} == {left for _, left, _ in found} == set(range(5))


def test_augmentation_follows_its_seed_and_keeps_the_other_components():
    examples = {"image": tf.constant(gradient(channels=3)), "label": tf.range(200)}
    for augment in (images.pad_crop_flip(2), images.random_resized_crop(8, smallest_area=0.2, colour_strength=0.4)):
        first, again = augment(examples, SEED), augment(examples, SEED)
        other = augment(examples, SEED + 1)
        np.testing.assert_array_equal(first["image"], again["image"])
        assert (first["image"].numpy() != other["image"].numpy()).any()
        np.testing.assert_array_equal(first["label"], examples["label"])
        assert first["image"].dtype == tf.uint8


def test_random_boxes_stay_inside_and_cover_what_they_should():
    draws = tf.random.stateless_uniform([4, 5000], SEED)
    boxes = images.random_boxes(draws, 0.2, 4 / 3, 300 / 400).numpy()
    top, left, bottom, right = boxes.T
    assert boxes.min() >= 0
    assert boxes.max() <= 1 + 1e-6
    area = (bottom - top) * (right - left)
    uncut = (bottom - top < 1) & (right - left < 1)
    assert area.min() > 0.15
    ratio = (right - left) * 400 / ((bottom - top) * 300)
    assert ratio[uncut].min() >= 0.75 - 1e-3
    assert ratio[uncut].max() <= 4 / 3 + 1e-3
    assert abs(area[uncut].max() - 1) < 0.1


def test_whole_image_is_a_resized_crop_too():
    """With the smallest area at 1 nothing but the aspect ratio cuts the image, and half of them are mirrored."""
    augment = images.random_resized_crop(12, smallest_area=1.0, colour_strength=0.0)
    augmented = augment({"image": tf.constant(gradient(channels=3))}, SEED)["image"].numpy().astype(int)
    mirrored = augmented[:, 0, 0, 0] > augmented[:, 0, -1, 0]
    assert 0.35 < mirrored.mean() < 0.65


def test_colours_change_in_range():
    augment = images.random_resized_crop(8, smallest_area=0.9, colour_strength=0.4)
    grey = np.full((300, 8, 8, 3), 128, np.uint8)
    means = augment({"image": tf.constant(grey)}, SEED)["image"].numpy().mean((1, 2, 3))
    assert 128 * 0.59 < means.min() < 100
    assert 156 < means.max() < 128 * 1.41


def test_centre_crop_is_the_middle_and_has_no_randomness():
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 10:30] = 200
    cropped = [images.centre_crop(8, share=1.0)({"image": tf.constant(image)})["image"].numpy() for _ in range(2)]
    np.testing.assert_array_equal(*cropped)
    assert cropped[0].shape == (8, 8, 3)
    assert (cropped[0][:, 1:-1] == 200).all()


def test_decoding_gives_the_jpegs_pixels_and_checks_the_size():
    image = np.full((16, 16, 3), 90, np.uint8)
    example = {"image": tf.io.encode_jpeg(image), "label": 3}
    np.testing.assert_allclose(images.decode()(example)["image"], image, atol=2)
    assert images.decode(16)(example)["label"] == 3
    with pytest.raises(Exception, match="not 8 pixels square"):
        images.decode(8)(example)


@pytest.mark.parametrize("fixed", [True, False])
def test_copies_before_augmentation_differ_and_after_it_are_equal(fixed):
    pixels = gradient(1, channels=3)[0]

    def example(i):
        height = 12 if fixed else 11 + tf.cast(i % 2, tf.int32)
        return {"image": tf.constant(pixels)[:height], "label": tf.cast(i, tf.int32)}

    def read():
        return tf.data.Dataset.range(1000).map(example)

    augment = images.random_resized_crop(10, smallest_area=0.2, colour_strength=0.4)

    def batch(variant, seed=0):
        return next(build(read(), Stages(variant, 2, 64, 0), seed=seed, augment=augment).as_numpy_iterator())

    before, after = batch("example_before_augmentation"), batch("example_after_augmentation")
    assert before["label"].tolist() == after["label"].tolist() == [i // 2 for i in range(64)]
    assert all((before["image"][i] != before["image"][i + 1]).any() for i in range(0, 64, 2))
    assert all((after["image"][i] == after["image"][i + 1]).all() for i in range(0, 64, 2))
    np.testing.assert_array_equal(before["image"], batch("example_before_augmentation")["image"])
    assert not np.shares_memory(after["image"][0], after["image"][1])
