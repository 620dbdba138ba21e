"""What an update keeps of its forward pass for the backward pass, where it is to keep less than everything."""

from collections.abc import Callable
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

KEPT = "kept"


def kept(x: jax.Array) -> jax.Array:
    """Marks a value, such as a block's output, that is kept when other values are made anew."""
    return checkpoint_name(x, KEPT)


def rematerialised(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose gradient makes everything anew but for its arguments and what is marked as kept."""
    return jax.checkpoint(function, policy=jax.checkpoint_policies.save_only_these_names(KEPT))
