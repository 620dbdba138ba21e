"""What all image models take in."""

import jax
import jax.numpy as jnp


def to_floats(pixels: jax.Array) -> jax.Array:
    """Maps pixels from 0..255 to -1..1, on the device."""
    return pixels.astype(jnp.float32) / 127.5 - 1
