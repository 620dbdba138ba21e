"""R through a real server: TFRecord files read over loopback HTTP at a bandwidth set for R = 2, 4 and 6.

python -m benchmarks.remote [--workload=transformer_lm1b] [--scale=small]      a minute; needs a quiet machine
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.command_line import echoed_study
from experiments.command_line import exit_code

RATIOS = (2.0, 4.0, 6.0)
BATCHES = 200


def main() -> None:
    """Prints the table."""
    study = echoed_study(__doc__)
    import tensorflow as tf

    from experiments.protocol.training import Training
    from pipelines.echoing.advice import timing
    from pipelines.echoing.tfdata.datasets import numpy_items
    from pipelines.sources.remote import read_records, serve

    training = Training(study, overlap=True)
    spec = training.examples.element_spec

    def packed(example: dict[str, Any]) -> tf.Tensor:
        return tf.io.serialize_tensor(tf.stack([tf.io.serialize_tensor(example[name]) for name in sorted(spec)]))

    def unpacked(record: tf.Tensor) -> dict[str, Any]:
        parts = tf.unstack(tf.io.parse_tensor(record, tf.string), len(spec))
        tensors = (tf.io.parse_tensor(part, spec[name].dtype) for name, part in zip(sorted(spec), parts, strict=True))
        return {name: tf.ensure_shape(t, spec[name].shape) for name, t in zip(sorted(spec), tensors, strict=True)}

    size = study.batch_size
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "examples.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as out:
            for record in training.examples.take(BATCHES * size).map(packed).as_numpy_iterator():
                out.write(record)
        batch_bytes = path.stat().st_size / BATCHES
        print(f"{study.workload}, {batch_bytes:,.0f} bytes a batch")
        print(f"{'R set':>8}{'measured':>10}{'off by':>9}{'ms a batch set':>16}{'measured':>10}")
        for ratio in RATIOS:
            downstream = training.downstream_seconds()
            with serve(Path(folder), batch_bytes / (ratio * downstream)) as base:
                read = read_records([f"{base}/{path.name}"]).repeat().map(unpacked)
                upstream = timing.seconds_per_batch(numpy_items(read.batch(size)), None, 2.0, 3).mean
            measured = upstream / training.downstream_seconds()
            times = f"{ratio * downstream * 1e3:16.2f}{upstream * 1e3:10.2f}"
            print(f"{ratio:8g}{measured:10.2f}{measured / ratio - 1:+9.1%}{times}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
