"""Data echoing for any loader: each item is given more than once while the next one is being read.

    >>> from echoing import echo
    >>> list(echo("abc", 2, seed=0))
    ['a', 'a', 'b', 'b', 'c', 'c']

`echo` takes any iterable, `prefetch` reads it ahead in a thread, and `advise` times a loader and a step and says where
to echo and how often; they need NumPy alone. `echoing.pytorch`, `echoing.pygrain` and `echoing.tfdata` are the same
stage for PyTorch, Grain and tf.data.
"""

from .advice import advise
from .iterables import Echo, echo
from .reading import prefetch

__version__ = "0.3.0"
__all__ = ["Echo", "advise", "echo", "prefetch"]
