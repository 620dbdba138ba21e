"""A multi-layer perceptron on Fashion-MNIST at 7 pixels: the worked example of docs/adding-a-workload.md.

Its settings are not calibrated, so its numbers mean nothing. There is no augmentation, hence one kind of example
echoing. JAX and TensorFlow are imported where they are needed: `--plan` does without them.
"""

from ml_collections import ConfigDict

from experiments.protocol import settings
from experiments.protocol.experiment import Workload

HERE = "experiments.workloads.mlp_fashion_mnist"


def config(scale: str) -> ConfigDict:
    """The workload's settings, the same at every scale."""
    return settings.make("mlp_fashion_mnist", scale, {scale: _any_scale}, metric="accuracy", goal="max")


def _any_scale(c: ConfigDict) -> None:
    c.target = 0.3
    c.data = {"source": f"{HERE}:images", "train_examples": 1_000, "validation_examples": 500}
    c.model = {"name": f"{HERE}:perceptron", "hidden": 32, "num_classes": 10}
    c.batch_size = 32
    c.shuffle_buffer = 200
    c.eval_batch_size = 500
    c.eval_every_steps = 5
    c.budget_fresh_examples = settings.budgets(baseline=1_600, batch=1_600, example=1_600)
    c.search_space = settings.space(learning_rate=(0.05, 0.5), momentum=(0.5, 0.95))
    c.searches = 2
    c.trials = 3
    c.seconds_per_update = 0.002


def images(*, train_examples: int, validation_examples: int):
    """The source: `{"image": [7, 7, 1] uint8, "label": [] int32}`."""
    import numpy as np

    from pipelines.sources.bundled import load_fashion_mnist
    from pipelines.sources.source import in_memory

    arrays = load_fashion_mnist()
    splits = []
    for split, count in (("train", train_examples), ("test", validation_examples)):
        small = arrays[f"{split}_images"][:count].reshape(count, 7, 4, 7, 4).mean((2, 4)).astype(np.uint8)
        splits.append({"image": small[..., None], "label": arrays[f"{split}_labels"][:count].astype(np.int32)})
    return in_memory(*splits, shards=10)


def perceptron(*, hidden: int, num_classes: int):
    """The task: classification by a network of one hidden layer."""
    from flax import linen as nn

    from models.tasks import ImageClassification

    class Perceptron(nn.Module):
        @nn.compact
        def __call__(self, images, training: bool):
            x = images.reshape(len(images), -1)
            return nn.Dense(num_classes)(nn.relu(nn.Dense(hidden)(x)))

    return ImageClassification(Perceptron(), label_smoothing=0.0, weight_decay=1e-4)


WORKLOAD = Workload("Perceptron on Fashion-MNIST", config, {3: "f"})
