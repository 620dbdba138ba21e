"""Downloads and prepares a data set of TensorFlow Datasets for the workloads at paper scale, once.

    python -m pipelines.sources.prepare cifar10
    python -m pipelines.sources.prepare coco/2017 --data-dir=DIR        lm1b, imagenet2012 and c4/en.noclean likewise

TensorFlow Datasets' own command needs Apache Beam even where the data set does not. c4 does: pip install apache-beam.
ImageNet may not be downloaded for you: its archives go into DIR/downloads/manual first. A stopped run goes on where it
was as far as archives were downloaded.
"""

import signal
import sys
from pathlib import Path
from typing import Any

from pipelines.command_line import Parser


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("name", help="as TensorFlow Datasets calls it, e.g. cifar10 or coco/2017")
    parser.add_argument("--data-dir", type=Path, default=Path("~/tensorflow_datasets"), metavar="DIR")
    flags = parser.parse_args(argv)
    try:
        prepare(flags.name, flags.data_dir.expanduser())
    except KeyboardInterrupt:
        print("stopped; archives that were downloaded are kept, the same command goes on from here", file=sys.stderr)
        return 130
    except Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


class Failed(Exception):
    """The data set cannot be prepared; the message says why."""


def prepare(name: str, data_dir: Path, config: Any = None) -> None:
    """Prepares a data set in `data_dir`, where the sources find it; `config` is a `tfds.download.DownloadConfig`.

    Raises:
      Failed: there is no such data set, an extra or an archive is missing, or the download or the disk fails.
    """
    if data_dir.exists() and not data_dir.is_dir():
        raise Failed(f"--data-dir: {data_dir} is not a folder")
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError, AttributeError) as error:
        raise Failed(f"{name}: {_first_line(error)}") from None
    if builder.is_prepared():
        print(f"{name} is prepared in {builder.data_dir}")
        return
    if isinstance(builder, tfds.core.BeamBasedBuilder):
        _wants_beam(name)
    try:
        builder.download_and_prepare(download_dir=data_dir / "downloads", download_config=config)
    except Exception as error:
        if isinstance(error, AssertionError) and "manual" in str(error).lower():
            raise Failed(f"{name} has to be downloaded by hand: {' '.join(str(error).split())}") from None
        raise Failed(f"{name} could not be prepared in {data_dir}: {_first_line(error)}") from error
    print(f"{name} is prepared in {builder.data_dir}")


def _wants_beam(name: str) -> None:
    try:
        import apache_beam  # noqa: F401
    except ImportError:
        raise Failed(f"{name} is made with Apache Beam: pip install apache-beam") from None


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same clean end
    sys.exit(main())
