"""SSD (Liu et al. 2016) on a residual backbone: class and box predictions for default boxes on maps of several sizes.

The paper names neither backbone nor default boxes; ours are a ResNet-34 up to its third stage and the published
SSD300 boxes: maps of 38, 19, 10, 5, 3 and 1 cells, 8,732 boxes.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from models.boxes import default_boxes
from models.resnet import BasicResNet, Layer, ResNetConfig


@dataclass(frozen=True)
class SSDConfig(ResNetConfig):
    """A backbone and what is built on it.

    `strides` are those of the backbone's stages; the last one's output is the first map. Each entry of
    `extra_channels` is a further map, of half the size (of one cell after one of at most three). `scales` and
    `aspect_ratios` describe the default boxes (see `default_boxes`), sides as shares of the image's.
    """

    size: int
    strides: tuple[int, ...]
    extra_channels: tuple[int, ...]
    scales: tuple[float, ...]
    aspect_ratios: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("strides", "extra_channels", "scales"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "aspect_ratios", tuple(map(tuple, self.aspect_ratios)))
        maps = len(self.extra_channels) + 1
        if len(self.strides) != len(self.stages):
            raise ValueError(f"model.strides must have an entry for each of {len(self.stages)} stages")
        if len(self.scales) != maps + 1 or len(self.aspect_ratios) != maps:
            raise ValueError(f"{maps} maps need {maps + 1} model.scales and {maps} model.aspect_ratios")

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """Of the first block of each stage."""
        return self.strides

    @property
    def map_sizes(self) -> tuple[int, ...]:
        """Cells on a side of each map."""
        size = self.size
        for stride in [*([2, 2] if self.stem == "imagenet" else []), *self.strides]:
            size = -(-size // stride)
        sizes = [size]
        for _ in self.extra_channels:
            sizes.append(_next_size(sizes[-1]))
        return tuple(sizes)

    @property
    def default_boxes(self) -> np.ndarray:
        """[N, 4] in centre form."""
        return default_boxes(self.map_sizes, self.scales, self.aspect_ratios)


def _next_size(size: int) -> int:
    return -(-size // 2) if size > 3 else 1


def backbone(config: SSDConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the variables of stem and stages, by path: those of a classifier with the same, but for its logits."""
    classifier = partial(BasicResNet(config).init, training=False)
    variables = jax.eval_shape(classifier, jax.random.key(0), jnp.zeros((1, config.size, config.size, 3)))
    named = flatten_dict(variables, sep="/")
    return {path: shape for path, shape in named.items() if not path.startswith("params/logits/")}


class SSD(BasicResNet):
    """Images [B, size, size, C] float -> class logits [B, N, classes + 1], background first, and offsets [B, N, 4]."""

    config: SSDConfig

    @nn.compact
    def __call__(  # type: ignore[override]
        self, x: jax.Array, training: bool
    ) -> tuple[jax.Array, jax.Array]:
        c = self.config
        convolution, norm = self.layers(training)
        maps = [self.features(x, convolution, norm)]
        for channels in c.extra_channels:
            maps.append(self.smaller_map(maps[-1], channels, convolution, norm))
        predictions = [self.predict(x, 2 + 2 * len(ratios)) for x, ratios in zip(maps, c.aspect_ratios, strict=True)]
        logits, offsets = (jnp.concatenate(parts, axis=1) for parts in zip(*predictions, strict=True))
        return logits, offsets

    def smaller_map(self, x: jax.Array, channels: int, convolution: Layer, norm: Layer) -> jax.Array:
        """The next map."""
        x = nn.relu(norm()(convolution(channels // 2, (1, 1))(x)))
        size = x.shape[1]
        if size > 3:
            return nn.relu(norm()(convolution(channels, (3, 3), 2, padding=1)(x)))
        return nn.relu(norm()(convolution(channels, (size, size), padding="VALID")(x)))

    def predict(self, x: jax.Array, boxes: int) -> tuple[jax.Array, jax.Array]:
        """A map's class logits [B, cells * boxes, classes + 1] and offsets [B, cells * boxes, 4], float32."""
        outputs = []
        for values in (self.config.num_classes + 1, 4):
            y = nn.Conv(boxes * values, (3, 3), padding=1, dtype=jnp.float32)(x)
            outputs.append(y.reshape(x.shape[0], -1, values))
        return outputs[0], outputs[1]
