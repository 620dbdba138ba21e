"""What an update at the paper's settings takes of each device's memory, without a device: compiled for TPUs, not run.

    pip install libtpu
    python -m benchmarks.memory
    python -m benchmarks.memory --workloads=resnet50_imagenet --config.batch_size=16384

For each workload and number of devices: as configured; with `--config.rematerialise=true`; with
`--config.gradient_accumulation` as well, where the batch can be cut (PARTS, or fewer). Gigabytes a device, of arguments
and of what the program needs beside them, and gigabytes moved, where the program has no loops. Compiling takes up to a
minute or so each; a file keeps what was found.
"""

import functools
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accelerator import example_shapes
from experiments import timings, workloads
from experiments.command_line import Parser, exit_code, positive
from experiments.protocol import files, worker
from experiments.protocol.study import PROGRAM, ConfigError, EngineError, Study, make_study

TOPOLOGIES = {1: "v5p:2x2x1", 4: "v5p:2x2x1", 8: "v5p:2x2x2", 32: "v5p:2x4x4"}
"""By the number of devices, chips of 95 GB; a single one is the first of four."""

PARTS = 8
DTYPES = {"image": "uint8", "boxes": "float32"}  # of a batch's components; the others are int32


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--workloads", help=f"separated by commas; default: {','.join(workloads.WORKLOADS)}")
    parser.add_argument("--scale", choices=workloads.SCALES, default="paper")
    parser.add_argument(
        "--devices",
        type=positive,
        choices=TOPOLOGIES,
        action="append",
        help="may be repeated; default: 1, 8 and 32",
    )
    parser.add_argument("--out", type=Path, default=Path("memory.json"), help="default: memory.json")
    flags, overrides = parser.parse_with_overrides(argv)

    def work() -> None:
        names = flags.workloads.split(",") if flags.workloads else list(workloads.WORKLOADS)
        if unknown := [name for name in names if name not in workloads.WORKLOADS]:
            raise ConfigError(f"--workloads: {unknown[0]!r} is none of {', '.join(workloads.WORKLOADS)}")
        studies = [make_study(workloads.load(name, flags.scale, overrides), "baseline", 1) for name in names]
        os.environ.update(worker.environment(flags.scale))
        os.environ.update(JAX_PLATFORMS="cpu", TPU_SKIP_MDS_QUERY="1", TPU_WORKER_HOSTNAMES="localhost")
        records: list[dict[str, Any]] = []
        known = functools.cache(lambda program, *rest: needed(json.loads(program), *rest))
        for study in studies:
            for devices in flags.devices or (1, 8, 32):
                for config in settings(study, devices):
                    shapes = tuple(example_shapes(study).items())
                    found = known(json.dumps(config, sort_keys=True), study.batch_size, shapes, devices)
                    record = timings.described(study) | config | {"devices": devices} | found
                    records.append(record)
                    files.write(flags.out, timings.text(records))
                    print(in_words(record), flush=True)

    return exit_code(work, stopped=f"stopped; what was found is in {flags.out}")


def settings(study: Study, devices: int) -> Iterator[dict[str, Any]]:
    """The programs to compare: as configured, rematerialised, and in as many parts as the batch allows as well."""
    config = {key: study.config[key] for key in PROGRAM}
    yield config
    yield config | {"rematerialise": True}
    virtual = config["model"].get("ghost_batch_size", 1)
    parts = PARTS if virtual else 1
    while parts > 1 and study.batch_size % (parts * devices * virtual):
        parts //= 2
    if parts > 1:
        yield config | {"rematerialise": True, "gradient_accumulation": parts}


def needed(
    config: dict[str, Any], batch_size: int, shapes: Sequence[tuple[str, tuple[int, ...]]], devices: int
) -> dict[str, Any]:
    """Bytes that the update takes of each of so many devices, and bytes that it moves there; or why it does not fit."""
    import jax
    from jax.experimental import topologies

    from experiments.protocol.model import CompiledModel

    try:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGIES[devices])
    except Exception as error:  # JAX raises whatever the absent library leads to
        raise EngineError(
            f"cannot compile for TPUs: {str(error).splitlines()[0]} (it takes `pip install libtpu`, and one process at "
            "a time)"
        ) from error
    model = CompiledModel(**config, devices=topology.devices[:devices])
    batch = {name: jax.ShapeDtypeStruct((batch_size, *shape), DTYPES.get(name, "int32")) for name, shape in shapes}
    started = time.perf_counter()
    try:
        lowered = model.lowered(batch)
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        used = re.search(r"Used ([0-9.]+)G of", str(error))
        return {"does_not_fit": True, "bytes": used and float(used[1]) * 2**30}
    memory: Any = compiled.memory_analysis()
    loops = "stablehlo.while" in lowered.as_text()  # which the compiler's costs count once
    arguments = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        "bytes": arguments + memory.temp_size_in_bytes,
        "argument_bytes": arguments,
        "bytes_moved": None if loops else (compiled.cost_analysis() or {}).get("bytes accessed"),
        "compile_seconds": time.perf_counter() - started,
    }


def in_words(record: dict[str, Any]) -> str:
    """A record in one line."""
    changes = [f"{record['gradient_accumulation']} parts"] if record["gradient_accumulation"] > 1 else []
    changes = ["rematerialised", *changes] if record["rematerialise"] else changes
    words = f"{record['workload']:24} batch {record['batch_size']:6,} devices {record['devices']:2}  "
    words += f"{', '.join(changes) or 'as configured':24} "
    gigabytes = "unknown" if record["bytes"] is None else f"{record['bytes'] / 1e9:7.1f}"
    if record.get("does_not_fit"):
        return words + f"{gigabytes} GB, which does not fit"
    moved = f", {record['bytes_moved'] / 1e9:,.1f} GB moved" if record["bytes_moved"] else ""
    return words + f"{gigabytes} GB a device{moved}"


if __name__ == "__main__":
    sys.exit(main())
