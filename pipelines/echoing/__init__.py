"""Data echoing for any loader: each item is given more than once while the next one is being read.

    >>> from echoing import echo
    >>> list(echo("abc", 2, seed=0))
    ['a', 'a', 'b', 'b', 'c', 'c']

`echo` and `Echo` take any iterable and need NumPy alone. `echoing.pytorch`, `echoing.pygrain` and `echoing.tfdata` are
the same stage for PyTorch, Grain and tf.data; `echoing.advice` says where to echo and how often.
"""

from .iterables import Echo, echo

__version__ = "0.2.0"
__all__ = ["Echo", "echo"]
