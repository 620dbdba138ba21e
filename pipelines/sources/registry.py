"""Opens a source of examples by name: bundled data at smoke and small scale, TensorFlow Datasets at paper scale.

A source yields undecoded or decoded examples in reading order; shuffling, echoing, augmentation and batching are
the business of `stages.py`.
"""

import functools
import pkgutil
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

    A source that is not of this package is named as `package.module:function`.

    Raises:
      ValueError: there is no such source, or an argument is out of range.
      DatasetMissing: the data are not where they were looked for, or not complete.
      BundleDamaged: a bundled file is absent or not what was bundled.
    """
    arguments = dict(settings)
    name = arguments.pop("source")
    if name in SOURCES:
        return SOURCES[name](**arguments)
    if ":" not in name:
        raise ValueError(f"data.source must be one of {', '.join(SOURCES)} or package.module:function, got {name!r}")
    try:
        make = pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"data.source {name}: {error}") from error
    return make(**arguments)
