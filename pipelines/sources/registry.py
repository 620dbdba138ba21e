"""Opens a source of examples by name: bundled data at smoke and small scale, TensorFlow Datasets at paper scale.

A source yields undecoded or decoded examples in reading order; shuffling, echoing, augmentation and batching are
the business of `stages.py`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from pipelines.sources import images as image_sources
from pipelines.sources import texts as text_sources
from pipelines.sources.source import Source

SOURCES: Mapping[str, Callable[..., Source]] = {
    "brown": functools.partial(text_sources.bundled_windows, name="brown"),
    "cifar10": image_sources.cifar10,
    "coco": image_sources.coco,
    "common_crawl": text_sources.common_crawl,
    "composites": image_sources.composites,
    "fashion_mnist": image_sources.fashion_mnist,
    "imagenet2012": image_sources.imagenet2012,
    "lm1b": text_sources.lm1b,
    "public_domain": functools.partial(text_sources.bundled_windows, name="public_domain"),
    "scenes": image_sources.scenes,
}


def load(settings: Mapping[str, Any]) -> Source:
    """Opens the source that a workload's `config.data` names; the other keys are the source's arguments.

    Raises:
      ValueError: there is no such source, or an argument is out of range.
      DatasetMissing: the data are not where they were looked for, or not complete.
      BundleDamaged: a bundled file is absent or not what was bundled.
    """
    arguments = dict(settings)
    name = arguments.pop("source")
    if name not in SOURCES:
        raise ValueError(f"data.source must be one of {', '.join(SOURCES)}, got {name!r}")
    return SOURCES[name](**arguments)
