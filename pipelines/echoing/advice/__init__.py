"""Says whether echoing would speed training up, where to insert it and how often to echo; for any loader.

    advice = advise(loader, step)    # any iterable of batches, and any function that takes a step on one
    print(advice)

`Pipeline` names the stages of a loader in Python, `echoing.tfdata.loader.Pipeline` those of one in tf.data.
"""

from .advise import Advice, advise, confirm
from .loaders import Pipeline

__all__ = ["Advice", "Pipeline", "advise", "confirm"]
