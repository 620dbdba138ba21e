"""Whether a prepared data set is where it is looked for. Without TensorFlow, so that a run can ask before it starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PREPARED = {"cifar10": "cifar10", "coco": "coco/2017", "lm1b": "lm1b"}
"""Sources of one data set of TensorFlow Datasets."""
CHOOSING = ("common_crawl", "imagenet2012")
"""Sources that read the one that `data.dataset` names."""


class DatasetMissing(FileNotFoundError):
    """A dataset is absent or damaged; the message says which, where it was looked for and what prepares it."""


def check(settings: Mapping[str, Any]) -> None:
    """Raises DatasetMissing where a workload's `config.data` names a data set that nobody has prepared."""
    source = settings["source"]
    name = settings["dataset"] if source in CHOOSING else PREPARED.get(source)
    if name in (None, "wet"):
        return
    folder = Path(settings["data_dir"]).expanduser()
    versions = (folder / name).glob("**/dataset_info.json")
    if next(versions, None) is None:
        raise not_prepared(name, folder)


def not_prepared(name: str, folder: Path) -> DatasetMissing:
    """The error for a data set of TensorFlow Datasets that is not there."""
    return DatasetMissing(
        f"{name} is not prepared in {folder}; run `python -m pipelines.sources.prepare {name} --data-dir={folder}` "
        "or name its folder with --config.data.data_dir=FOLDER"
    )
