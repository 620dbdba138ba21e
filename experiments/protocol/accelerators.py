"""The machine's accelerators, and how worker processes share them. Imports neither JAX nor TensorFlow."""

import itertools
import os
from pathlib import Path

NVIDIA = Path("/proc/driver/nvidia/gpus")
MEMORY_SHARE = 0.9
"""Of a GPU's memory, what processes that share it take together; JAX takes three quarters for one alone."""


def gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES names, or the numbers of the NVIDIA GPUs that Linux knows."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name]
    return [str(number) for number, _ in enumerate(NVIDIA.glob("*"))]


def shares(workers: int) -> list[dict[str, str]]:
    """The environment variables that give each worker GPUs of its own, or its share of one that several have.

    Without NVIDIA GPUs they are empty: all workers see whatever devices there are.
    """
    devices = gpus()
    if not devices:
        return [{} for _ in range(workers)]
    if workers <= len(devices):
        firsts = [len(devices) * number // workers for number in range(workers + 1)]
        return [{"CUDA_VISIBLE_DEVICES": ",".join(devices[first:end])} for first, end in itertools.pairwise(firsts)]
    on_device = [number % len(devices) for number in range(workers)]
    return [
        {
            "CUDA_VISIBLE_DEVICES": devices[device],
            "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{MEMORY_SHARE / on_device.count(device):.3f}",
        }
        for device in on_device
    ]
