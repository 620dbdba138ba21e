import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import workloads
from models import boxes
from models.ssd import SSDConfig


def random_boxes(generator, count):
    """Boxes of all sizes, (top, left, bottom, right)."""
    corners = np.sort(generator.uniform(size=(count, 2, 2)), axis=1)
    return corners.reshape(count, 4).astype(np.float32)


def slow_overlap(a, b):
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(height, 0) * max(width, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared)


def paper_config(**changes):
    settings = workloads.load("ssd_coco", "paper").model.to_dict()
    settings = {key: value for key, value in settings.items() if key in SSDConfig.__dataclass_fields__}
    return SSDConfig(**(settings | changes))


def test_default_boxes_are_ssd300s():
    """The published layout: 8,732 boxes; the first map's squares of 21 and sqrt(21 * 45) pixels, centred on cells."""
    config = paper_config()
    assert config.map_sizes == (38, 19, 10, 5, 3, 1)
    per_map = [size**2 * (2 + 2 * len(r)) for size, r in zip(config.map_sizes, config.aspect_ratios, strict=True)]
    assert per_map == [5776, 2166, 600, 150, 36, 4]
    defaults = config.default_boxes
    assert defaults.shape == (8732, 4)
    pixels = 300 * defaults
    np.testing.assert_allclose(pixels[0], [300 / 76, 300 / 76, 21, 21], rtol=1e-5)
    np.testing.assert_allclose(pixels[1, 2:], np.sqrt(21 * 45) * np.ones(2), rtol=1e-5)
    np.testing.assert_allclose(pixels[2, 2:], [21 / np.sqrt(2), 21 * np.sqrt(2)], rtol=1e-5)
    np.testing.assert_allclose(pixels[3, 2:], [21 * np.sqrt(2), 21 / np.sqrt(2)], rtol=1e-5)
    np.testing.assert_allclose(pixels[4, :2], [300 / 76, 3 * 300 / 76], rtol=1e-5)  # the next column
    np.testing.assert_allclose(defaults[-4, :2], [0.5, 0.5])
    np.testing.assert_allclose(300 * defaults[-4, 2:], [261, 261], rtol=1e-5)


@pytest.mark.parametrize("changes", [{"scales": (0.1, 0.2)}, {"aspect_ratios": ((2.0,),)}, {"strides": (1,)}])
def test_layouts_that_do_not_fit_are_named(changes):
    with pytest.raises(ValueError, match=r"model\."):
        paper_config(**changes)


def test_encoding_and_decoding_are_inverse():
    generator = np.random.default_rng(0)
    defaults = paper_config().default_boxes[generator.integers(8732, size=500)]
    targets = random_boxes(generator, 500)
    targets[:, 2:] += 0.02
    decoded = boxes.decode(boxes.encode(jnp.asarray(targets), jnp.asarray(defaults)), jnp.asarray(defaults))
    np.testing.assert_allclose(decoded, targets, atol=1e-5)
    itself = boxes.encode(boxes.corners(jnp.asarray(defaults)), jnp.asarray(defaults))
    np.testing.assert_allclose(itself, 0, atol=1e-4)


def test_encoding_against_numbers_worked_by_hand():
    """A default box of 0.2 x 0.4 at (0.5, 0.5); the object is a tenth lower and twice as high."""
    offsets = boxes.encode(jnp.array([0.4, 0.3, 0.8, 0.7]), jnp.array([0.5, 0.5, 0.2, 0.4]))
    np.testing.assert_allclose(offsets, [0.1 / 0.2 / 0.1, 0, np.log(2) / 0.2, 0], atol=1e-5)


def test_overlap_against_a_slow_reference():
    generator = np.random.default_rng(1)
    a, b = random_boxes(generator, 40), random_boxes(generator, 30)
    expected = [[slow_overlap(x, y) for y in b] for x in a]
    np.testing.assert_allclose(boxes.intersection_over_union(jnp.asarray(a), jnp.asarray(b)), expected, atol=1e-5)
    empty = jnp.zeros((1, 4))
    assert boxes.intersection_over_union(empty, empty) == 0


def slow_match(defaults, objects, present, threshold=0.5):
    answers = []
    for default in defaults:
        best, chosen = threshold, -1
        for m, thing in enumerate(objects):
            if present[m] and slow_overlap(default, thing) > best:
                best, chosen = slow_overlap(default, thing), m
        answers.append(chosen)
    for m, thing in enumerate(objects):
        if present[m]:
            answers[int(np.argmax([slow_overlap(default, thing) for default in defaults]))] = m
    return answers


@pytest.mark.parametrize("seed", range(5))
def test_matching_against_a_slow_reference(seed):
    generator = np.random.default_rng(seed)
    defaults = boxes.default_boxes((6, 3, 1), (0.3, 0.5, 0.75, 1.0), ((2.0,),) * 3)
    objects, present = random_boxes(generator, 7), generator.uniform(size=7) < 0.7
    answers = np.asarray(boxes.match(jnp.asarray(defaults), jnp.asarray(objects), jnp.asarray(present)))
    assert answers.tolist() == slow_match(np.asarray(boxes.corners(jnp.asarray(defaults))), objects, present)


def test_an_image_without_objects_matches_nothing():
    defaults = boxes.default_boxes((3,), (0.3, 0.5), ((2.0,),))
    answers = boxes.match(jnp.asarray(defaults), jnp.zeros((4, 4)), jnp.zeros(4, bool))
    assert (np.asarray(answers) == -1).all()


@pytest.mark.parametrize("positives", [0, 1, 3, 20])
def test_mining_takes_the_hardest_three_times_as_often(positives):
    generator = np.random.default_rng(positives)
    losses = generator.uniform(size=40).astype(np.float32)
    positive = np.zeros(40, bool)
    positive[generator.permutation(40)[:positives]] = True
    mined = np.asarray(boxes.hard_negatives(jnp.asarray(losses), jnp.asarray(positive)))
    hardest = sorted(np.flatnonzero(~positive), key=lambda i: -losses[i])[: 3 * positives]
    assert sorted(np.flatnonzero(mined)) == sorted(hardest)


def slow_suppression(candidates, scores, threshold=0.5):
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > 0 and all(slow_overlap(candidates[i], candidates[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("seed", range(3))
def test_suppression_against_a_slow_reference(seed):
    generator = np.random.default_rng(seed)
    centres = generator.uniform(0.3, 0.7, (5, 2))
    corners = np.concatenate([centres - 0.2, centres + 0.2], axis=1)[generator.integers(5, size=60)]
    candidates = (corners + generator.normal(0, 0.03, (60, 4))).astype(np.float32)
    scores = np.sort(generator.uniform(size=60).astype(np.float32))[::-1].copy()
    scores[50:] = 0
    kept = np.asarray(boxes.suppress(jnp.asarray(candidates), jnp.asarray(scores)))
    assert np.flatnonzero(kept).tolist() == slow_suppression(candidates, scores)


def test_detections_are_suppressed_within_a_class_only():
    generator = np.random.default_rng(0)
    places = np.concatenate([np.full((20, 2), 0.2), np.full((20, 2), 0.6)], axis=1).astype(np.float32)
    places[10:] += 0.3
    chances = generator.uniform(0.1, 1, (20, 3)).astype(np.float32)
    found, scores, classes = boxes.detections(jnp.asarray(chances), jnp.asarray(places), per_class=20, per_image=10)
    expected = [
        (chances[part, label].max(), label, start)
        for start, part in ((0.2, slice(0, 10)), (0.5, slice(10, 20)))
        for label in range(3)
    ]
    expected.sort(reverse=True)
    assert np.count_nonzero(scores) == 6
    for i, (score, label, start) in enumerate(expected):
        np.testing.assert_allclose([scores[i], found[i, 0]], [score, start], rtol=1e-5)
        assert classes[i] == label
    assert list(itertools.pairwise(np.asarray(scores))) == sorted(itertools.pairwise(np.asarray(scores)), reverse=True)
