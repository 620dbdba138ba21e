"""A pipeline of your own for the advisor: copy this file, replace the data, the stages and the step.

    python -m pipelines.echoing.advice experiments/examples/own_dataset.py --confirm

Here: JPEG files in a folder, read and decoded in TensorFlow, random crops, and a small convolution in JAX. The folder
is made up on the spot so that the example runs anywhere, and the disk is slowed down to 600 files a second, as network
storage may be, by a stage of `pipelines.sources.slow`: leave that out for your own.
"""

import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf
from flax import linen as nn

from pipelines.echoing.tfdata.loader import Pipeline
from pipelines.sources.slow import Storage, slow

IMAGE_SIZE, CLASSES = 32, 10
Params = dict[str, Any]  # a network's parameters
FOLDER = tempfile.TemporaryDirectory(prefix="own_dataset-")  # goes with the process


def make_files(folder: Path, count: int = 256) -> list[str]:
    """Writes `count` JPEGs of noise, `<class>-<number>.jpg`: stands in for files of yours."""
    generator = np.random.default_rng(0)
    for number in range(count):
        pixels = generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        (folder / f"{number % CLASSES}-{number}.jpg").write_bytes(tf.io.encode_jpeg(pixels).numpy())
    return sorted(str(path) for path in folder.glob("*.jpg"))


def read(path: tf.Tensor) -> dict[str, tf.Tensor]:
    """Reads and decodes one file; its class is in its name."""
    image = tf.ensure_shape(tf.io.decode_jpeg(tf.io.read_file(path)), [40, 40, 3])
    label = tf.strings.to_number(tf.strings.regex_replace(path, r".*/(\d+)-\d+\.jpg", r"\1"), tf.int32)
    return {"image": image, "label": label}


def crop(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Cuts a random square out of one image."""
    return {**example, "image": tf.image.random_crop(example["image"], [IMAGE_SIZE, IMAGE_SIZE, 3])}


def loader() -> Pipeline:
    """What the advisor asks for: batches, here with the stages named that echoing can be inserted between."""
    files = tf.data.Dataset.from_tensor_slices(make_files(Path(FOLDER.name))).shuffle(256, seed=0).repeat()
    stored = slow(files, Storage(examples_per_second=600))
    return Pipeline(stored, batch_size=32, shuffle_buffer=128, augment=lambda dataset: dataset.map(crop), read=read)


class Network(nn.Module):
    """A small convolutional network."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits [batch, CLASSES] of images [batch, height, width, 3]."""
        x = nn.relu(nn.Conv(8, (4, 4), strides=(4, 4))(images.astype(jnp.float32) / 255))
        x = nn.relu(nn.Dense(64)(x.reshape(len(x), -1)))
        return nn.Dense(CLASSES)(x)


@jax.jit
def update(params: Params, batch: dict[str, np.ndarray]) -> Params:
    """One SGD step."""

    def loss(params: Params) -> jax.Array:
        log_probabilities = jax.nn.log_softmax(jnp.asarray(Network().apply(params, batch["image"])))
        return -jnp.mean(jnp.take_along_axis(log_probabilities, batch["label"][:, None], axis=1))

    return jax.tree.map(lambda p, g: p - 0.01 * g, params, jax.grad(loss)(params))


params = Network().init(jax.random.key(0), jnp.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3)))


def step(batch: dict[str, np.ndarray]) -> None:
    """One SGD step on a batch; returns when it is done, as timing it needs."""
    global params
    params = jax.block_until_ready(update(params, batch))
