"""Echo stages for tf.data."""

from .adaptive import AdaptiveEcho
from .echo import echo

__all__ = ["AdaptiveEcho", "echo"]
