"""Detection: pixels and boxes move together, the metric is COCO's, the small SSD learns."""

import contextlib
import io
import json
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
import tfds_archives
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from experiments import trial, workloads
from experiments.study import make_study
from models.detection import mean_average_precision
from pipelines import detection, sources

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


def test_boxes_are_where_the_pixels_are_after_augmentation():
    """Every side of every box that is kept whole lies within a pixel of where the block's colour ends."""
    images, boxes = scenes_with_blocks(np.random.default_rng(0), 300)
    labels = np.tile(np.arange(2, dtype=np.int32), (300, 1))
    examples = {"image": images, "boxes": boxes, "labels": labels, "crowd": np.zeros((300, 2), bool)}
    size = 48
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


def test_least_overlaps_are_kept():
    """Where an overlap is asked for, the chosen patch has it; patches that show nothing are not taken."""
    generator = np.random.default_rng(3)
    patches = detection._random_patches(tf.constant(generator.uniform(size=(4, 500, 30)), tf.float32), 0.1)
    boxes = tf.tile(tf.constant([[[0.3, 0.3, 0.7, 0.8]]]), [500, 1, 1])
    draw = tf.constant(generator.uniform(size=500), tf.float32)
    chosen = detection._choose_patch(patches, boxes, tf.ones([500, 1], bool), draw).numpy()
    for patch, number in zip(chosen, draw.numpy(), strict=True):
        level = int(number * 7)
        whole = (patch == [0, 0, 1, 1]).all()
        assert level < 6 or whole
        if not whole:
            assert (patch[:2] <= [0.5, 0.55]).all()
            assert (patch[2:] >= [0.5, 0.55]).all()
            height = min(patch[2], 0.7) - max(patch[0], 0.3)
            width = min(patch[3], 0.8) - max(patch[1], 0.3)
            union = 0.2 + (patch[2] - patch[0]) * (patch[3] - patch[1]) - height * width
            assert height * width / union >= detection.LEAST_OVERLAPS[level] - 1e-4


def test_evaluation_resizes_the_whole_image():
    image = np.zeros((30, 60, 3), np.uint8)
    image[:15] = 200
    out = detection.resize(20)({"image": tf.constant(image)})["image"].numpy()
    assert out.shape == (20, 20, 3)
    np.testing.assert_array_equal(out[:10], 200)
    np.testing.assert_array_equal(out[10:], 0)


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
        | {"bbox": sides(found[i, k]), "score": float(scores[i, k])}
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


@pytest.mark.parametrize("seed", range(3))
def test_map_is_cocos(seed):
    arguments = toy(np.random.default_rng(seed))
    expected = pycocotools_map(*arguments)
    assert 0.05 < expected < 0.95
    assert mean_average_precision(*arguments) == pytest.approx(expected, abs=1e-6)


def test_perfect_detections_reach_one_and_shuffled_ones_nothing():
    truth, *_ = toy(np.random.default_rng(4))
    truth["crowd"][:] = False
    scores = (truth["labels"] >= 0).astype(float)
    classes = np.maximum(truth["labels"], 0)
    assert mean_average_precision(truth, truth["boxes"], scores, classes) == pytest.approx(1.0)
    shuffled = mean_average_precision(truth, np.roll(truth["boxes"], 7, axis=0), scores, classes)
    assert shuffled < 0.1
    assert mean_average_precision(truth, truth["boxes"], 0 * scores, classes) == 0.0


def test_the_small_ssd_learns_32_scenes_by_heart(tmp_path):
    """With the whole batch as one virtual batch: slices of 16 leave evaluation's averages a little off."""
    sizes = {"data.train_examples": "40", "data.validation_examples": "32", "eval_batch_size": "32"}
    changes = sizes | {"data.data_dir": str(tmp_path), "model.ghost_batch_size": "32"}
    study = make_study(workloads.load("ssd_coco", "small", changes), "baseline", 1)
    trainer, (batch,) = trial.open_study(study)
    state = trainer.init(0, batch)
    for step in range(1, 301):
        rate = np.float32(0.05 * min(1.0, step / 50) * (0.1 if step > 225 else 1.0))
        state, _ = trainer.update(state, batch, {"learning_rate": rate, "momentum": np.float32(0.9)})
    assert trainer.evaluate(state, [batch]) > 0.9


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


def test_one_update_of_the_papers_config(coco_dir):
    """Shrunk in batch and buffer only: network and images keep their size."""
    sizes = {"batch_size": "4", "model.ghost_batch_size": "2", "shuffle_buffer": "4", "eval_batch_size": "2"}
    sizes |= {"data.data_dir": str(coco_dir), "data.validation_examples": "2", "warm_up_examples": "0.0"}
    study = make_study(workloads.load("ssd_coco", "paper", sizes), "example_before_augmentation", 2)
    trainer, validation = trial.open_study(study)
    counter = trial.stages.ReadCounter()
    batch = trainer.put(next(trial.pipeline(study, 0, counter).as_numpy_iterator()))
    state = trainer.init(0, batch)
    point = {"learning_rate": jnp.float32(0.01), "momentum": jnp.float32(0.9)}
    state, loss = trainer.update(state, batch, point)
    assert np.isfinite(float(loss))
    assert 0 <= trainer.evaluate(state, validation) <= 1
