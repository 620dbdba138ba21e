"""What training costs on this machine's accelerators: seconds and memory of an update and of an evaluation batch.

    python -m benchmarks.accelerator                              the workloads at the paper's settings: under 8 minutes
    python -m benchmarks.accelerator --workloads=resnet50_imagenet --config.batch_size=256     one more batch size
    python -m benchmarks.accelerator --input --config.data.data_dir=DIR             also this host's input, and R by it
    python -m experiments.figure3 --scale=paper --plan --timing=accelerator.json             hours, memory and R by it

The program is the one that trains, on random inputs made on the device. Each workload has a process of its own, and
what it found is in the file before the next one starts; the file keeps what it held of other devices, batch sizes and
models. A batch that does not fit into memory is halved until it does, and the file says so. Needs neither TensorFlow
nor data, but for --input, which times the batches that this host makes of the workload's own data while nothing trains.
"""

import dataclasses
import json
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from experiments import timings, workloads
from experiments.command_line import Parser, exit_code, positive_float
from experiments.protocol import files, store, worker
from experiments.protocol.study import PROGRAM, ConfigError, Study, make_study

PEAKS = {
    # Name within the device's -> dense bfloat16 operations a second, bytes a second of its memory; the first that fits.
    # NVIDIA's data sheets of the H200, H100, A100 and V100 (whose figure is of float16).
    "H200": (989e12, 4.8e12),
    "H100 PCIe": (756e12, 2.0e12),
    "H100": (989e12, 3.35e12),
    "A100-SXM4-80GB": (312e12, 2.04e12),
    "A100": (312e12, 1.56e12),
    "V100": (125e12, 0.9e12),
    # Google's pages on each version, https://cloud.google.com/tpu/docs; a device of v2 and v3 is half a chip.
    "TPU v2": (22.5e12, 0.3e12),
    "TPU v3": (61.5e12, 0.45e12),
    "TPU v4": (275e12, 1.2e12),
    "TPU v5 lite": (197e12, 0.82e12),
    "TPU v5e": (197e12, 0.82e12),
    "TPU v5": (459e12, 2.77e12),
}
ROUNDS = 7
ROUND_SECONDS = 0.5
INPUT_SECONDS = 10.0


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--workloads", help=f"separated by commas; default: {','.join(workloads.WORKLOADS)}")
    parser.add_argument("--scale", choices=workloads.SCALES, default="paper")
    parser.add_argument("--out", type=Path, default=Path("accelerator.json"), help="default: accelerator.json")
    parser.add_argument(
        "--seconds", type=positive_float, default=75.0, help="most for a workload, compilation included; default: 75"
    )
    parser.add_argument("--input", action="store_true", help="also time the host's input; needs the workload's data")
    parser.add_argument("--revision", help="of the code, where its folder is no git checkout")
    flags, overrides = parser.parse_with_overrides(argv)

    def work() -> None:
        names = flags.workloads.split(",") if flags.workloads else list(workloads.WORKLOADS)
        if unknown := [name for name in names if name not in workloads.WORKLOADS]:
            raise ConfigError(f"--workloads: {unknown[0]!r} is none of {', '.join(workloads.WORKLOADS)}")
        studies = [make_study(workloads.load(name, flags.scale, overrides), "baseline", 1) for name in names]
        records = timings.read(flags.out) if flags.out.exists() else []
        os.environ.update(worker.environment(flags.scale))
        known: dict[str, tuple[str, dict[str, Any]]] = {}
        for study in studies:
            program = json.dumps([study.batch_size, timings.program(study), example_shapes(study)], sort_keys=True)
            if program in known:
                twin, found = known[program]
                found = found | {"same_program_as": twin}
            else:
                found = in_own_process(_measure, study, flags.seconds)
                known[program] = study.workload, found
            if flags.input:
                found = found | in_own_process(_measure_input, study, flags.seconds)
            record = timings.described(study) | found | _provenance(flags.revision)
            records = [old for old in records if not timings.replaces(record, old)] + [record]
            files.write(flags.out, timings.text(records))
            print(timings.in_words(record), flush=True)

    return exit_code(work, stopped=f"stopped; what was measured is in {flags.out}")


def in_own_process(work: Callable[[Study, Connection], None], study: Study, seconds: float) -> dict[str, Any]:
    """What `work` sends, as one mapping, with `error` if it fails or takes longer; what it sent before that is kept."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(work, study, sender))
    process.start()
    sender.close()
    deadline = time.monotonic() + seconds
    found: dict[str, Any] = {}
    try:
        while receiver.poll(max(0.0, deadline - time.monotonic())):
            found |= receiver.recv()
        found["error"] = f"stopped after {seconds:g} s, see --seconds"
    except EOFError:
        process.join()
        if process.exitcode:
            found.setdefault("error", f"its process ended with code {process.exitcode}")
    finally:
        process.kill()
        process.join()
    return found


def _child(work: Callable[[Study, Connection], None], study: Study, sender: Connection) -> None:
    try:
        work(study, sender)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        sender.send({"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"})


def _measure(study: Study, sender: Connection) -> None:
    """Sends what the update of a study costs, then what an evaluation batch costs, each as soon as it is known."""
    import jax

    from experiments.protocol.model import CompiledModel

    sender.send({"device": _device()})
    model = CompiledModel(**{key: study.config[key] for key in PROGRAM})
    batch_size, too_large = study.batch_size, []
    while True:
        try:
            update, state = _update(model, study, batch_size)
            break
        except jax.errors.JaxRuntimeError as error:
            smaller = batch_size // 2
            if "RESOURCE_EXHAUSTED" not in str(error) or smaller % (study.config["model"].get("ghost_batch_size") or 1):
                raise
        too_large.append(batch_size)
        batch_size = smaller
        sender.send({"does_not_fit": too_large})
    if too_large:  # what the allocator remembers is of the batch that did not fit
        update["peak_bytes"] = update["program_bytes"]
    sender.send({"batch_size": batch_size, "update": update})
    batch = model.put(random_batch(study, -(-study.config["eval_batch_size"] // model.devices) * model.devices, True))
    started = time.perf_counter()
    jax.block_until_ready(model.outputs(state, [batch]))
    compiling = time.perf_counter() - started
    evaluation = seconds_each(lambda count: jax.block_until_ready(model.outputs(state, [batch] * count)))
    sender.send({"evaluation": {**evaluation, "compile_seconds": compiling}})


def _measure_input(study: Study, sender: Connection) -> None:
    """Sends at what rate the host makes the examples of a study's batches, the shuffle buffer filled beforehand.

    The buffer holds a batch, since that of the paper takes minutes to fill and makes the rate no other.
    """
    from experiments.protocol.training import Training

    batches = iter(Training(dataclasses.replace(study, shuffle_buffer=study.batch_size)).own_batches())
    next(batches), next(batches)
    started, count = time.perf_counter(), 0
    while (taken := time.perf_counter() - started) < INPUT_SECONDS:
        next(batches)
        count += 1
    sender.send({"input": {"examples_per_second": count * study.batch_size / taken, "cores": os.cpu_count()}})


def _update(model: Any, study: Study, batch_size: int) -> tuple[dict[str, Any], Any]:
    """What an update on batches of this size costs, and the state after those that were timed."""
    import jax
    import jax.numpy as jnp

    batch = model.put(random_batch(study, batch_size, False))
    state = model.init(0, batch)
    point = {"learning_rate": jnp.float32(1e-3), "momentum": jnp.float32(0.9)}
    traced = model.update.trace(state, batch, point)
    operations = matrix_operations(traced.jaxpr.jaxpr)
    started = time.perf_counter()
    compiled = traced.lower().compile()
    compiling = time.perf_counter() - started
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))

    def run(count: int) -> None:
        nonlocal state
        for _ in range(count):
            state, loss = compiled(state, batch, point)
        jax.block_until_ready((state, loss))

    taken = seconds_each(run)
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis() or {}
    program = memory and (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )
    traffic = costs.get("bytes accessed")
    peak_operations, peak_traffic = peaks(jax.local_devices()[0].device_kind)
    if study.config["model"].get("dtype") != "bfloat16":
        peak_operations = None
    each = taken["seconds"] * model.devices
    return {
        **taken,
        "compile_seconds": compiling,
        "operations": operations,
        "operations_by_compiler": costs.get("flops"),
        "bytes_moved_by_compiler": traffic,
        "share_of_peak_operations": peak_operations and operations / each / peak_operations,
        "share_of_peak_traffic": peak_traffic and traffic and traffic / taken["seconds"] / peak_traffic,
        "state_bytes": state_bytes,
        "program_bytes": program,
        "peak_bytes": _allocator("peak") or program,
    }, state


def seconds_each(run: Callable[[int], object]) -> dict[str, float]:
    """Seconds of each of the works that `run` does as many of as asked: the median round, fastest and slowest.

    After two works that do not count. A round is as many as take about ROUND_SECONDS.
    """
    run(1)
    started = time.perf_counter()
    run(1)
    count = max(1, math.ceil(ROUND_SECONDS / (time.perf_counter() - started)))
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run(count)
        taken.append((time.perf_counter() - started) / count)
    return {"seconds": median(taken), "fastest": min(taken), "slowest": max(taken)}


def peaks(kind: str) -> tuple[float | None, float | None]:
    """Operations and bytes a second that a device can do at most; None where they are not known."""
    return next((peak for name, peak in PEAKS.items() if name in kind), (None, None))


def matrix_operations(jaxpr: Any) -> int:
    """Floating-point operations of the matrix products and convolutions of a traced program.

    Loops count as often as they run; zeros that padding or a stride puts between pixels count as far as XLA's own
    kernels would compute them.
    """
    from jax.extend.core import ClosedJaxpr, Jaxpr
    from jax.tree_util import tree_leaves

    total = 0
    for step in jaxpr.eqns:
        sizes = [math.prod(value.aval.shape) for value in step.outvars[:1]]
        if step.primitive.name == "dot_general":
            summed = step.params["dimension_numbers"][0][0]
            total += 2 * sizes[0] * math.prod(step.invars[0].aval.shape[axis] for axis in summed)
        elif step.primitive.name == "conv_general_dilated":
            kernel, places = step.invars[1].aval.shape, step.params["dimension_numbers"].rhs_spec
            summed_size = math.prod(kernel[axis] for axis in places[1:])
            total += 2 * sizes[0] * summed_size // math.prod(step.params["lhs_dilation"])
        parts = tree_leaves(dict(step.params), is_leaf=lambda part: isinstance(part, ClosedJaxpr | Jaxpr))
        inner = [part.jaxpr if isinstance(part, ClosedJaxpr) else part for part in parts]
        times = step.params["length"] if step.primitive.name == "scan" else 1
        total += times * sum(matrix_operations(part) for part in inner if isinstance(part, Jaxpr))
    return total


def example_shapes(study: Study) -> dict[str, tuple[int, ...]]:
    """Of one training example of a study, by component, as its source gives it."""
    data, model = study.config["data"], study.config["model"]
    if model["name"] == "transformer":
        return {"tokens": (data["length"],)}
    size, channels = data.get("size", 32), 1 if data["source"] == "fashion_mnist" else 3
    shapes: dict[str, tuple[int, ...]] = {"image": (size, size, channels)}
    if model["name"] == "ssd":
        return {**shapes, "boxes": (data["most_objects"], 4), "labels": (data["most_objects"],)}
    if model["name"] in ("resnet_cifar", "resnet_bottleneck"):
        return {**shapes, "label": ()}
    raise ConfigError(f"{study.workload}: no random batches are known for model.name {model['name']}")


def random_batch(study: Study, size: int, evaluation: bool) -> dict[str, Any]:
    """A batch shaped as the study's pipeline makes it, for training or evaluation, drawn on the device."""
    import jax
    import jax.numpy as jnp

    model = study.config["model"]

    def draw(name: str, shape: tuple[int, ...]) -> jax.Array:
        key, shape = jax.random.key(len(name)), (size, *shape)
        if name == "image":
            return jax.random.randint(key, shape, 0, 256, jnp.uint8)
        if name == "boxes":
            corner, extent = jax.random.uniform(key, (2, *shape[:-1], 2), maxval=0.5)
            return jnp.concatenate([corner, corner + extent + 0.01], axis=-1)
        if name == "labels":  # eight objects an image; COCO has seven on average
            classes = jax.random.randint(key, shape, 0, model["num_classes"])
            return jnp.where(jnp.arange(shape[1]) < 8, classes, -1)
        first, end = (1, model["vocab_size"]) if name == "tokens" else (0, model["num_classes"])
        return jax.random.randint(key, shape, first, end)

    batch = {name: jax.jit(draw, static_argnums=(0, 1))(name, shape) for name, shape in example_shapes(study).items()}
    if evaluation and "boxes" in batch:
        batch |= {"crowd": jnp.zeros(batch["labels"].shape, bool), "image_id": jnp.arange(size)}
    return batch


def _allocator(what: str) -> int | None:
    """The most bytes that any device has had in use, or may use (`limit`); None where the device does not say."""
    import jax

    name = {"peak": "peak_bytes_in_use", "limit": "bytes_limit"}[what]
    said = [(device.memory_stats() or {}).get(name) for device in jax.local_devices()]
    return max((value for value in said if value is not None), default=None)


def _device() -> Mapping[str, Any]:
    import jax

    devices = jax.local_devices()
    driver = None
    if command := shutil.which("nvidia-smi"):
        query = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(query, capture_output=True, text=True, check=False).stdout.partition("\n")[0] or None
    return {
        "kind": devices[0].device_kind,
        "count": len(devices),
        "memory_bytes": _allocator("limit"),
        "driver": driver,
        "runtime": " ".join(devices[0].client.platform_version.split()),
        "matrix_precision": jax.config.values["jax_default_matmul_precision"] or "default",
    }


def _provenance(revision: str | None) -> dict[str, Any]:
    found = store.provenance()
    if revision:
        found = found | {"git_revision": revision}
    return {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "provenance": found}


if __name__ == "__main__":
    sys.exit(main())
