"""Detection: pixels and boxes move together, the metric is COCO's, the small SSD learns."""

import contextlib
import io
import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
import tfds_archives
from flax.traverse_util import flatten_dict
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from experiments import workloads
from experiments.protocol.study import make_study
from experiments.protocol.training import Training
from models import boxes, tasks
from models.detection import _image_loss, mean_average_precision
from pipelines.echoing.tfdata import stages
from pipelines.sources import registry as sources
from pipelines.transforms import detection, images

SEED = tf.constant([3, 4], tf.int64)
WHOLE = tf.constant([[0.0, 0.0, 1.0, 1.0]])


def scenes_with_blocks(generator, count, size=60, objects=2):
    """Black scenes with an object in each of the primary colours, and their boxes as shares."""
    images = np.zeros((count, size, size, 3), np.uint8)
    boxes = np.zeros((count, objects, 4), np.float32)
    for i in range(count):
        for k in range(objects):
            height, width = generator.integers(12, 28, 2)
            top, left = generator.integers(0, size - height), generator.integers(0, size - width)
            images[i, top : top + height, left : left + width, k] = 255
            boxes[i, k] = np.array([top, left, top + height, left + width]) / size
    return images, boxes


@pytest.mark.parametrize("size", [48, 150])
def test_boxes_are_where_the_pixels_are_after_augmentation(size):
    """Every side of every box lies within a pixel of where the block's colour ends, also in enlarged patches."""
    images, boxes = scenes_with_blocks(np.random.default_rng(0), 300)
    labels = np.tile(np.arange(2, dtype=np.int32), (300, 1))
    examples = {"image": images, "boxes": boxes, "labels": labels, "crowd": np.zeros((300, 2), bool)}
    augment = detection.crop_flip_distort(size, smallest_area=0.3, colour_strength=0.0)
    out = {name: np.asarray(part) for name, part in augment(examples, SEED).items()}
    assert set(out) == {"image", "boxes", "labels"}
    compared = 0
    for image, found, kept in zip(out["image"], out["boxes"], out["labels"], strict=True):
        for k in range(2):
            visible = image[:, :, k] > 127
            if kept[k] < 0:
                assert (found[k] == 0).all()
                continue
            rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
            edges = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
            np.testing.assert_allclose(size * found[k], edges, atol=1.01)
            compared += 1
    assert compared > 300


def test_augmentation_shows_an_object_and_keeps_those_centred_in_the_patch():
    images, boxes = scenes_with_blocks(np.random.default_rng(1), 200)
    labels = np.tile(np.arange(2, dtype=np.int32), (200, 1))
    examples = {"image": images, "boxes": boxes, "labels": labels, "crowd": np.zeros((200, 2), bool)}
    augment = detection.crop_flip_distort(32, smallest_area=0.3, colour_strength=0.4)
    out = augment(examples, SEED)
    kept = out["labels"].numpy() >= 0
    assert kept.any(1).all()
    assert not kept.all()
    solid = out["boxes"].numpy()[kept]
    assert (solid[:, 2:] > solid[:, :2]).all()
    assert solid.min() >= 0
    assert solid.max() <= 1
    np.testing.assert_array_equal(out["image"], augment(examples, SEED)["image"])
    assert (out["image"].numpy() != augment(examples, SEED + 7)["image"].numpy()).any()


def test_images_without_objects_and_crowds_survive_augmentation():
    images, boxes = scenes_with_blocks(np.random.default_rng(2), 4)
    labels = np.array([[-1, -1], [0, 1], [0, -1], [1, 0]], np.int32)
    crowd = np.array([[False, False], [True, True], [True, False], [True, False]])
    augment = detection.crop_flip_distort(32, smallest_area=0.3, colour_strength=0.4)
    out = augment({"image": images, "boxes": boxes, "labels": labels, "crowd": crowd}, SEED)
    assert (out["labels"].numpy()[:3] == -1).all()
    assert out["labels"].numpy()[3, 0] == -1
    assert np.isfinite(out["boxes"].numpy()).all()


def slow_choice(patches, boxes, present, draw):
    """The patch of one image, chosen as crop_flip_distort's docstring says."""
    objects = boxes[present]
    options = []
    for least in detection.LEAST_OVERLAPS:
        for patch in patches:
            sides = np.minimum(patch[2:], objects[:, 2:]) - np.maximum(patch[:2], objects[:, :2])
            shared = np.prod(np.maximum(sides, 0), axis=1)
            union = np.prod(objects[:, 2:] - objects[:, :2], axis=1) + np.prod(patch[2:] - patch[:2]) - shared
            centres = (objects[:, :2] + objects[:, 2:]) / 2
            shown = ((centres >= patch[:2]) & (centres < patch[2:])).all(1)
            if shown.any() and (shared / union >= least).any():
                options.append((least, patch))
                break
    options.append((None, np.array([0, 0, 1, 1], np.float32)))
    return options[int(draw * len(options))]


def test_patches_are_chosen_as_a_slow_reference_does():
    """Large and small objects; padding and crowds count for nothing."""
    generator = np.random.default_rng(3)
    patches = images.random_boxes(tf.constant(generator.uniform(size=(4, 400, 30)), tf.float32), 0.1, 2.0)
    corners = generator.uniform(size=(400, 3, 2)) * 0.5
    sides = generator.uniform(0.05, 0.5, (400, 3, 2)) + 0.5 * (np.arange(400) % 2)[:, None, None]
    boxes = np.concatenate([corners, np.minimum(corners + sides, 1)], axis=2).astype(np.float32)
    present, draw = generator.uniform(size=(400, 3)) < 0.6, generator.uniform(size=400).astype(np.float32)
    chosen = detection._choose_patch(patches, tf.constant(boxes), tf.constant(present), tf.constant(draw)).numpy()
    levels = []
    for number in range(400):
        level, patch = slow_choice(patches[number].numpy(), boxes[number], present[number], draw[number])
        np.testing.assert_array_equal(chosen[number], patch)
        levels.append(level)
    counts = [levels.count(least) for least in (*detection.LEAST_OVERLAPS, None)]
    assert min(counts) >= 1, counts


def test_objects_stay_whose_centre_is_in_the_patch():
    boxes = tf.constant([[[0.1, 0.1, 0.5, 0.3], [0.4, 0.4, 0.9, 1.0], [0.0, 0.0, 0.2, 0.2], [0.0, 0.0, 0.0, 0.0]]])
    present = tf.constant([[True, True, True, False]])
    cropped, kept = detection._crop_boxes(boxes, present, tf.constant([[0.2, 0.0, 0.6, 0.5]]))
    assert kept.numpy().tolist() == [[True, False, False, False]]
    np.testing.assert_allclose(cropped.numpy()[0, 0], [0, 0.2, 0.75, 0.6], atol=1e-6)


@pytest.mark.parametrize("size", [20, 200])
def test_evaluation_resizes_the_whole_image(size):
    """A block's edges are where its box says, in an image that is not square, made smaller and larger."""
    image = np.zeros((30, 60, 3), np.uint8)
    image[6:15, 21:60] = 200
    out = detection.resize(size)({"image": tf.constant(image)})["image"].numpy()
    assert out.shape == (size, size, 3)
    visible = out[:, :, 0] >= 100
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    edges = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
    np.testing.assert_allclose(edges, np.array([6 / 30, 21 / 60, 15 / 30, 1]) * size, atol=0.51)


def test_padding_drops_empty_boxes_and_what_does_not_fit():
    boxes = tf.constant([[0.1, 0.1, 0.5, 0.5], [0.2, 0.2, 0.2, 0.9], [0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.6, 0.6]])
    padded = detection.pad_objects(boxes, tf.range(4), tf.constant([False, False, True, False]), 2)
    assert padded["labels"].numpy().tolist() == [0, 2]
    assert padded["crowd"].numpy().tolist() == [False, True]
    none = detection.pad_objects(boxes[:0], tf.range(0), tf.zeros([0], bool), 2)
    assert none["labels"].numpy().tolist() == [-1, -1]


def toy(generator, images=40, most=6, detections=15):
    """Random objects, crowds among them, and detections: some near the objects, some anywhere."""
    corners = np.sort(generator.uniform(size=(images, most, 2, 2)), axis=2).reshape(images, most, 4)
    labels = generator.integers(-1, 3, (images, most))
    labels[:5] = -1  # images without objects
    truth = {
        "image_id": generator.permutation(1000)[:images],
        "boxes": corners.astype(np.float32),
        "labels": labels,
        "crowd": generator.uniform(size=(images, most)) < 0.1,
    }
    chosen = generator.integers(most, size=(images, detections))
    near = np.take_along_axis(corners, chosen[..., None], 1) + generator.normal(0, 0.02, (images, detections, 4))
    anywhere = np.sort(generator.uniform(size=(images, detections, 2, 2)), axis=2).reshape(images, detections, 4)
    found = np.where(generator.uniform(size=(images, detections, 1)) < 0.7, near, anywhere)
    classes = np.maximum(np.take_along_axis(labels, chosen, 1), 0)
    scores = generator.uniform(size=(images, detections)) * (generator.uniform(size=(images, detections)) < 0.9)
    return truth, np.sort(found.reshape(images, detections, 2, 2), axis=2).reshape(found.shape), scores, classes


def pycocotools_map(truth, found, scores, classes):
    """The same through COCO's own evaluation, in pixels of a 640 x 480 image."""
    scale = np.array([480, 640, 480, 640])

    def sides(box):
        top, left, bottom, right = box * scale
        return [left, top, right - left, bottom - top]

    annotations = []
    for i, image in enumerate(truth["image_id"]):
        for k in np.flatnonzero(truth["labels"][i] >= 0):
            box = sides(truth["boxes"][i, k].astype(float))
            annotations.append(
                {"id": len(annotations) + 1, "image_id": int(image), "category_id": int(truth["labels"][i, k]) + 1}
                | {"bbox": box, "area": box[2] * box[3], "iscrowd": int(truth["crowd"][i, k])}
            )
    results = [
        {"image_id": int(truth["image_id"][i]), "category_id": int(classes[i, k]) + 1}
        | {"bbox": sides(found[i, k].astype(float)), "score": float(scores[i, k])}
        for i, k in zip(*np.nonzero(scores > 0), strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        expected = COCO()
        expected.dataset = {
            "images": [{"id": int(image)} for image in truth["image_id"]],
            "categories": [{"id": k} for k in (1, 2, 3)],
            "annotations": annotations,
        }
        expected.createIndex()
        evaluation = COCOeval(expected, expected.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0]


@pytest.mark.parametrize("digits", [1, 8])
@pytest.mark.parametrize("seed", range(6))
def test_map_is_cocos(seed, digits):
    """Also where scores are equal, and IoUs, as those of the same object twice."""
    truth, found, scores, classes = toy(np.random.default_rng(seed))
    truth["boxes"][:, -1], truth["labels"][:, -1] = truth["boxes"][:, 0], truth["labels"][:, 0]
    arguments = truth, found.astype(np.float32), np.round(scores, digits), classes
    expected = pycocotools_map(*arguments)
    assert 0.05 < expected < 0.95
    assert mean_average_precision(*arguments) == pytest.approx(expected, abs=1e-9)


def test_perfect_detections_reach_one_and_shuffled_ones_nothing():
    truth, *_ = toy(np.random.default_rng(4))
    truth["crowd"][:] = False
    scores = (truth["labels"] >= 0).astype(float)
    classes = np.maximum(truth["labels"], 0)
    assert mean_average_precision(truth, truth["boxes"], scores, classes) == pytest.approx(1.0)
    shuffled = mean_average_precision(truth, np.roll(truth["boxes"], 7, axis=0), scores, classes)
    assert shuffled < 0.1
    assert mean_average_precision(truth, truth["boxes"], 0 * scores, classes) == 0.0
    only_crowds = truth | {"crowd": np.ones_like(truth["crowd"])}
    assert mean_average_precision(only_crowds, truth["boxes"], scores, classes) == 0.0


def test_padding_counts_for_nothing_in_the_metric():
    truth, *found = toy(np.random.default_rng(5))
    expected = mean_average_precision(truth, *found)
    batches = [{name: array[:25] for name, array in truth.items()}, {name: array[15:] for name, array in truth.items()}]
    batches[1]["image_id"] = np.where(np.arange(25) < 10, -1, batches[1]["image_id"])  # seen in the first batch
    outputs = [[array[:25] for array in found], [array[15:] for array in found]]
    task = tasks.build(workloads.load("ssd_coco", "small").model.to_dict())
    assert task.metric(outputs, batches) == pytest.approx(expected)


def slow_loss(logits, offsets, defaults, objects, labels):
    """Cross-entropy and smooth L1 of one image, and its positives, box by box."""
    present = labels >= 0
    answers = np.asarray(boxes.match(jnp.asarray(defaults), jnp.asarray(objects), jnp.asarray(present)))
    normalised = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    positive = np.flatnonzero(answers >= 0)
    negative = sorted(np.flatnonzero(answers < 0), key=lambda n: normalised[n, 0])[: 3 * len(positive)]
    total = -normalised[negative, 0].sum()
    for n in positive:
        total -= normalised[n, labels[answers[n]] + 1]
        wanted = np.asarray(boxes.encode(jnp.asarray(objects[answers[n]]), jnp.asarray(defaults[n])))
        for distance in np.abs(offsets[n] - wanted):
            total += 0.5 * distance**2 if distance < 1 else distance - 0.5
    return total, len(positive)


@pytest.mark.slow
def test_loss_against_a_slow_reference():
    """Three images: some objects, one object, none."""
    generator = np.random.default_rng(6)
    settings = workloads.load("ssd_coco", "small", {"model.weight_decay": "0.0"}).model.to_dict()
    task = tasks.build(settings)
    defaults = task.model.config.default_boxes
    logits = generator.normal(size=(3, len(defaults), 11)).astype(np.float32)
    offsets = generator.normal(size=(3, len(defaults), 4)).astype(np.float32)
    objects = np.sort(generator.uniform(size=(3, 5, 2, 2)), axis=2).reshape(3, 5, 4).astype(np.float32)
    labels = np.array([[3, 0, 9, -1, -1], [-1, -1, 5, -1, -1], [-1] * 5], np.int32)
    objects[labels < 0] = 0
    expected = [slow_loss(logits[i], offsets[i], defaults, objects[i], labels[i]) for i in range(3)]
    for i in range(3):
        loss, positives = _image_loss(
            *map(jnp.asarray, (logits[i], offsets[i], defaults, objects[i], labels[i], labels[i] >= 0))
        )
        np.testing.assert_allclose(loss, expected[i][0], rtol=1e-4)
        assert positives == expected[i][1]
    assert expected[2] == (0, 0)


def variables(settings, size):
    """Shapes of a network's variables, by path."""
    params, statistics = jax.eval_shape(
        tasks.build(settings).init, jax.random.key(0), {"image": jnp.zeros((128, size, size, 3), jnp.uint8)}
    )
    named = flatten_dict({"params": params, "batch_stats": statistics}, sep="/")
    return {path: leaf.shape for path, leaf in named.items()}


@pytest.mark.parametrize(("classifier", "fits"), [("resnet_basic", True), ("resnet_bottleneck", False)])
def test_the_papers_backbone_is_the_first_three_stages_of_a_resnet34(classifier, fits):
    settings = workloads.load("ssd_coco", "paper").model.to_dict()
    wanted = {path: leaf.shape for path, leaf in tasks.build(settings).backbone().items()}
    assert wanted.items() <= variables(settings, 300).items()
    of_images = workloads.load("resnet50_imagenet", "paper", {"model.name": classifier}).model.to_dict()
    assert (wanted.items() <= variables(of_images, 224).items()) == fits
    params = [np.prod(shape) for path, shape in wanted.items() if path.startswith("params/")]
    assert sum(params) == 21_797_672 - 13_114_368 - 513_000  # ResNet-34's, without last stage and logits


@pytest.mark.slow
def test_a_batch_without_objects_has_a_loss_of_zero_and_finite_gradients():
    task = tasks.build(workloads.load("ssd_coco", "smoke", {"model.weight_decay": "0.0"}).model.to_dict())
    batch = {
        "image": np.zeros((16, 48, 48, 3), np.uint8),
        "boxes": np.zeros((16, 5, 4), np.float32),
        "labels": np.full((16, 5), -1, np.int32),
    }
    parameters, statistics = jax.jit(task.init)(jax.random.key(0), batch)
    (loss, _), gradients = jax.jit(jax.value_and_grad(task.loss, has_aux=True))(parameters, statistics, batch)
    assert loss == 0
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.slow
def test_the_small_ssd_learns_32_scenes_by_heart(tmp_path):
    """With the whole batch as one virtual batch: slices of 16 leave evaluation's averages a little off."""
    sizes = {"data.train_examples": "40", "data.validation_examples": "32", "eval_batch_size": "32"}
    changes = sizes | {"data.data_dir": str(tmp_path), "model.ghost_batch_size": "32"}
    study = make_study(workloads.load("ssd_coco", "small", changes), "baseline", 1)
    training = Training(study)
    model, (batch,) = training.model, training.validation
    state = model.init(0, batch)
    for step in range(1, 301):
        rate = np.float32(0.05 * min(1.0, step / 50) * (0.1 if step > 225 else 1.0))
        state, _ = model.update(state, batch, {"learning_rate": rate, "momentum": np.float32(0.9)})
    assert model.evaluate(state, [batch]) > 0.9


@pytest.fixture(scope="module")
def coco_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco")
    tfds_archives.prepare("coco/2017", folder, coco_archives())
    return folder


def coco_archives():
    """Three training images and two for validation: one without objects, one with a crowd and a box without area."""
    generator = np.random.default_rng(0)
    objects = {
        1: [],
        2: [([5, 5, 20, 30], 1, 0), ([0, 0, 60, 40], 3, 1), ([9, 9, 0, 5], 1, 0)],
        3: [([8, 8, 9, 9], 90, 0)],
    }
    archives = {}
    annotations = {}
    for split, ids in (("train2017", (1, 2, 3)), ("val2017", (2, 3)), ("test2017", (1,))):
        files = {}
        listing = {"images": [], "annotations": [], "categories": COCO_CATEGORIES}
        for number in ids:
            name = f"{number:012d}.jpg"
            pixels = tf.cast(tf.image.resize(generator.integers(0, 256, (6, 8, 3), np.uint8), (60, 80)), tf.uint8)
            files[f"{split}/{name}"] = tf.io.encode_jpeg(pixels).numpy()
            listing["images"].append({"id": number, "file_name": name, "height": 60, "width": 80})
            for box, category, crowd in objects[number]:
                listing["annotations"].append(
                    {"id": 10 * number + len(listing["annotations"]), "image_id": number, "category_id": category}
                    | {"bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
                )
        archives[f"http://images.cocodataset.org/zips/{split}.zip"] = zipped(files)
        annotations[split] = json.dumps(listing).encode()
    url = "http://images.cocodataset.org/annotations/"
    archives[url + "annotations_trainval2017.zip"] = zipped(
        {f"annotations/instances_{split}.json": annotations[split] for split in ("train2017", "val2017")}
    )
    archives[url + "image_info_test2017.zip"] = zipped(
        {"annotations/image_info_test2017.json": annotations["test2017"]}
    )
    return archives


COCO_CATEGORIES = [
    {"id": number, "name": f"class {number}", "supercategory": "things"}
    for number in range(1, 91)
    if number not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
]


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_coco_keeps_ids_and_crowds_and_drops_empty_boxes(coco_dir):
    settings = workloads.load("ssd_coco", "paper").data.to_dict()
    source = sources.load(settings | {"data_dir": str(coco_dir), "validation_examples": 2})
    validation = {int(e["image_id"]): e for e in source.validation().as_numpy_iterator()}
    assert set(validation) == {2, 3}
    assert validation[2]["labels"][:3].tolist() == [0, 2, -1]
    assert validation[2]["crowd"][:3].tolist() == [False, True, False]
    assert validation[3]["labels"][0] == 79
    np.testing.assert_allclose(validation[2]["boxes"][0], [5 / 60, 5 / 80, 35 / 60, 25 / 80], atol=1e-6)
    training = list(source.train(0).take(3).as_numpy_iterator())
    assert sorted(int(e["image_id"]) for e in training) == [1, 2, 3]


@pytest.mark.slow
def test_one_update_of_the_papers_config(coco_dir):
    """Shrunk in batch and buffer only: network and images keep their size."""
    sizes = {"batch_size": "4", "model.ghost_batch_size": "2", "shuffle_buffer": "4", "eval_batch_size": "2"}
    sizes |= {"data.data_dir": str(coco_dir), "data.validation_examples": "2", "warm_up_examples": "0.0"}
    study = make_study(workloads.load("ssd_coco", "paper", sizes), "example_before_augmentation", 2)
    training = Training(study, {"learning_rate": 0.01, "momentum": 0.9})
    loss = training.update(next(training.batches(training.examples).as_numpy_iterator()))
    assert np.isfinite(float(loss))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(training.state.params))
    assert 0 <= training.evaluate() <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "factor"),
    [("baseline", 1), ("batch", 2), ("example_after_augmentation", 2), ("example_before_augmentation", 2)],
)
def test_every_variant_gives_batches_with_their_boxes(tmp_path, variant, factor):
    study = make_study(workloads.load("ssd_coco", "smoke", {"data.data_dir": str(tmp_path)}), variant, factor)
    training = Training(study)
    batches = training.batches(training.examples).as_numpy_iterator()
    first, second = next(batches), next(batches)
    assert {name: part.shape for name, part in first.items()} == {
        "image": (16, 48, 48, 3),
        "boxes": (16, 5, 4),
        "labels": (16, 5),
        stages.NUMBER: (16,),
    }
    assert (first["labels"] >= 0).any(1).all()
    assert all((first[name] == second[name]).all() for name in first) == (variant == "batch")
