"""Residual networks (He et al. 2016): CIFAR's ResNet-6n+2 and the bottleneck ResNet-50, the paper's image classifiers.

ResNet-34 is a third one, whose stages SSD is built on.

Batch normalisation works on virtual ("ghost") batches: a batch is cut into slices that are each normalised by
themselves (section 3.1: 32 examples for ResNet-50). The last normalisation of each residual block starts at a scale
of 0, our choice. Shapes: B images, H rows, W columns, C channels, G virtual batches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.memory import kept

EPSILON = 1e-5
Layer = Callable[..., Callable[[jax.Array], jax.Array]]
KEPT = 0.9
"""Share of the running statistics that an update keeps."""


@dataclass(frozen=True)
class ResNetConfig:
    """Blocks in each `stages`, channels of the first (`width`, doubled in each further one), classes.

    `stem` is `imagenet` (7 x 7 convolution and pooling, both with stride 2) or `small` (3 x 3). `ghost_batch_size` is
    that of a virtual batch, None for the whole batch. `dtype` is that of the computation; parameters, statistics and
    logits are float32.
    """

    stages: tuple[int, ...]
    width: int
    num_classes: int
    ghost_batch_size: int | None
    stem: str
    dtype: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))  # JSON has lists only
        if self.stem not in ("imagenet", "small"):
            raise ValueError(f"model.stem must be imagenet or small, got {self.stem!r}")

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """Of the first block of each stage."""
        return (1, *[2] * (len(self.stages) - 1))


class GhostBatchNorm(nn.Module):
    """Batch normalisation over slices of `ghost_batch_size` consecutive images: [B, H, W, C] -> [B, H, W, C].

    Evaluation uses running averages of the slices' means and variances.

    Raises:
      ValueError: the slices do not fill the batch.
    """

    ghost_batch_size: int | None
    dtype: str
    training: bool
    scale_init: Callable[..., jax.Array] = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, channels = x.shape[0], x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_variance = self.variable("batch_stats", "var", jnp.ones, (channels,))
        if not self.training:
            factor = scale * jax.lax.rsqrt(running_variance.value + EPSILON)
            return (x * factor + (bias - running_mean.value * factor)).astype(self.dtype)
        size = self.ghost_batch_size or batch
        if batch % size:
            raise ValueError(f"model.ghost_batch_size {size} does not divide the batch of {batch}")
        slices = x.astype(jnp.float32).reshape(batch // size, size, *x.shape[1:])
        inner = tuple(range(1, slices.ndim - 1))
        mean = slices.mean(inner, keepdims=True)
        if self.dtype == "bfloat16":  # both sums in one reading: a sixth of the memory traffic of ResNet-50's update
            variance = jnp.maximum(jnp.square(slices).mean(inner, keepdims=True) - jnp.square(mean), 0.0)
        else:
            variance = jnp.square(slices - mean).mean(inner, keepdims=True)
        mean, variance = kept(mean), kept(variance)
        if not self.is_initializing():
            running_mean.value = KEPT * running_mean.value + (1 - KEPT) * mean.reshape(-1, channels).mean(0)
            running_variance.value = KEPT * running_variance.value + (1 - KEPT) * variance.reshape(-1, channels).mean(0)
        normalised = (slices - mean) * (scale * jax.lax.rsqrt(variance + EPSILON)) + bias
        return normalised.reshape(x.shape).astype(self.dtype)


class ResNet(nn.Module):
    """Stem, stages of residual blocks, classifier: [B, H, W, C] float -> logits [B, classes].

    Each stage after the first halves the resolution in its first block and doubles the channels.
    """

    config: ResNetConfig

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        pooled = self.features(x, *self.layers(training)).mean((1, 2)).astype(jnp.float32)
        return nn.Dense(self.config.num_classes, name="logits", kernel_init=nn.initializers.normal(0.01))(pooled)

    def features(self, x: jax.Array, convolution: Layer, norm: Layer) -> jax.Array:
        """What stem and stages make of images: [B, H, W, C] -> [B, rows, columns, channels of the last stage]."""
        c = self.config
        x = self.start(x.astype(c.dtype), convolution, norm)
        for stage, (blocks, stride) in enumerate(zip(c.stages, c.stage_strides, strict=True)):
            for block in range(blocks):
                x = kept(nn.relu(self.block(x, c.width * 2**stage, 1 if block else stride, convolution, norm)))
        return x

    def layers(self, training: bool) -> tuple[Layer, Layer]:
        """What the network is made of: convolution and normalisation."""
        init = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")
        convolution = partial(nn.Conv, use_bias=False, dtype=self.config.dtype, kernel_init=init)
        return convolution, partial(GhostBatchNorm, self.config.ghost_batch_size, self.config.dtype, training)

    def start(self, x: jax.Array, convolution: Layer, norm: Layer) -> jax.Array:
        """The layers before the first block."""
        if self.config.stem == "small":
            return nn.relu(norm(name="stem_norm")(convolution(self.config.width, (3, 3), name="stem")(x)))
        x = convolution(self.config.width, (7, 7), 2, padding=3, name="stem")(x)
        x = nn.relu(norm(name="stem_norm")(x))
        return nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))

    def block(self, x: jax.Array, channels: int, stride: int, convolution: Layer, norm: Layer) -> jax.Array:
        """The sum of a residual block's two branches."""
        raise NotImplementedError


class CifarResNet(ResNet):
    """ResNet of 6n+2 layers for small images, n blocks in each of three stages.

    Two convolutions a block; shortcuts have no parameters (pixels skipped, channels filled with zeros).
    """

    def block(self, x: jax.Array, channels: int, stride: int, convolution: Layer, norm: Layer) -> jax.Array:
        """The sum of a residual block's two branches."""
        y = nn.relu(norm()(convolution(channels, (3, 3), stride, padding=1)(x)))
        y = norm(scale_init=nn.initializers.zeros)(convolution(channels, (3, 3), padding=1)(y))
        shortcut = x[:, ::stride, ::stride]
        missing = channels - shortcut.shape[-1]
        return y + jnp.pad(shortcut, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))


class BasicResNet(ResNet):
    """ResNet of blocks of two 3 x 3 convolutions, ResNet-34 with stages (3, 4, 6, 3)."""

    def block(self, x: jax.Array, channels: int, stride: int, convolution: Layer, norm: Layer) -> jax.Array:
        """The sum of a residual block's two branches."""
        y = nn.relu(norm()(convolution(channels, (3, 3), stride, padding=1)(x)))
        y = norm(scale_init=nn.initializers.zeros)(convolution(channels, (3, 3), padding=1)(y))
        if x.shape == y.shape:
            return x + y
        return norm()(convolution(channels, (1, 1), stride)(x)) + y


class BottleneckResNet(ResNet):
    """ResNet of bottleneck blocks, ResNet-50 with stages (3, 4, 6, 3).

    A block that halves the resolution does so in its 3 x 3 convolution ("version 1.5").
    """

    def block(self, x: jax.Array, channels: int, stride: int, convolution: Layer, norm: Layer) -> jax.Array:
        """The sum of a residual block's two branches."""
        y = nn.relu(norm()(convolution(channels, (1, 1))(x)))
        y = nn.relu(norm()(convolution(channels, (3, 3), stride, padding=1)(y)))
        y = norm(scale_init=nn.initializers.zeros)(convolution(4 * channels, (1, 1))(y))
        if x.shape == y.shape:
            return x + y
        return norm()(convolution(4 * channels, (1, 1), stride)(x)) + y
