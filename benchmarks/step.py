"""Speed of an update: with the real pipeline against one constant batch, and against the same model in PyTorch.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.step [--scale=small]

All in one run, in turn. Ours runs as a trial does, with one thread for XLA and the pipeline beside it; PyTorch gets
every core. The share of the matrix rate is the update's multiply-adds over what a large float32 matrix product reaches
in the same process.
"""

import argparse
import os
import time
from statistics import median

from experiments import engine, workloads
from experiments.study import make_study

os.environ.update(engine.worker_environment("small"))

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from benchmarks.timing import ratio, seconds_in_turn
from experiments import trial
from pipelines.stages import ReadCounter

UPDATES = 20
POINT = {"learning_rate": jnp.float32(0.1), "momentum": jnp.float32(0.9)}


class TorchTransformer(nn.Module):
    """The model of models/transformer.py in PyTorch's own layers."""

    def __init__(self, vocab_size: int, length: int, width: int, layers: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, width)
        self.position = nn.Parameter(torch.randn(length, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, hidden, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.mask = nn.Transformer.generate_square_subsequent_mask(length)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [batch, length, vocabulary] for tokens [batch, length]."""
        inputs = nn.functional.pad(tokens, (1, 0))[:, :-1]
        x = self.blocks(self.embed(inputs) + self.position, mask=self.mask, is_causal=True)
        return x @ self.embed.weight.T


def torch_updates(model: dict, tokens: np.ndarray):
    """A function that takes UPDATES updates in PyTorch, and its parameter count."""
    sizes = {key: model[key] for key in ("vocab_size", "length", "width", "layers", "heads", "hidden")}
    network = TorchTransformer(**sizes)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    batch = torch.tensor(tokens, dtype=torch.long)

    def run() -> None:
        for _ in range(UPDATES):
            optimizer.zero_grad()
            logits = network(batch)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch.flatten())
            loss.backward()
            optimizer.step()
            loss.item()

    return run, sum(p.numel() for p in network.parameters())


def matrix_rate(size: int = 1024) -> float:
    """Floating-point operations a second of a large float32 matrix product."""
    a = jnp.ones((size, size))
    product = jax.jit(lambda x: x @ x)
    product(a).block_until_ready()
    taken = []
    for _ in range(20):
        started = time.perf_counter()
        product(a).block_until_ready()
        taken.append(time.perf_counter() - started)
    return 2 * size**3 / median(taken)


def main() -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("smoke", "small"), default="small")
    study = make_study(workloads.load("transformer_lm1b", parser.parse_args().scale), "example", 2)
    trainer, _ = trial.open_study(study)
    batches = trial.pipeline(study, 0, ReadCounter()).as_numpy_iterator()
    tokens = next(batches)
    constant = trainer.put(tokens)
    state = trainer.init(0, constant)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))

    def train(real_pipeline: bool) -> None:
        nonlocal state
        state, pending = trainer.update(state, constant, POINT)
        for _ in range(UPDATES - 1):
            batch = trainer.put(next(batches)) if real_pipeline else constant
            state, loss = trainer.update(state, batch, POINT)
            float(pending)
            pending = loss
        float(pending)

    def pipeline_alone() -> None:
        for _ in range(UPDATES):
            next(batches)

    torch.set_num_threads(os.cpu_count() or 1)
    torch_run, torch_parameters = torch_updates(study.config["model"], tokens["tokens"])
    seconds = seconds_in_turn(
        {
            "pipeline alone": pipeline_alone,
            "constant batch": lambda: train(False),
            "real pipeline": lambda: train(True),
            "PyTorch, constant batch": torch_run,
        },
        rounds=30,
    )
    print(f"{study.workload} {study.setting}: {parameters:,} parameters (PyTorch's model: {torch_parameters:,})")
    for name, taken in seconds.items():
        each = median(taken) / UPDATES
        print(f"{name:26} {1 / each:8.1f} a second, {each * 1e3:7.2f} ms each")
    constant_seconds, real, peer = (
        seconds[name] for name in ("constant batch", "real pipeline", "PyTorch, constant batch")
    )
    print(f"updates a second, real pipeline / constant batch: {ratio(constant_seconds, real):.3f}")
    print(f"time of an update, ours / PyTorch: {ratio(constant_seconds, peer):.2f}")
    matrix_parameters = parameters - state.params["position"].size
    operations = 6 * matrix_parameters * tokens["tokens"].size * UPDATES / median(constant_seconds)
    rate = matrix_rate()
    print(f"matrix rate: {rate / 1e9:.0f} GFLOP/s; the update reaches {operations / rate:.0%} of it")


if __name__ == "__main__":
    main()
