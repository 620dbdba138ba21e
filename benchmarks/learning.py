"""Whether a ResNet learns as the same network in PyTorch does, on the same batches, at the same settings.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.learning [--workload=resnet32_cifar10] [--scale=paper] [--updates=2000] [--batch-size=32]
                                  [--config.data.data_dir=DIR]      a quarter of an hour on two cores

Both begin with the same weights, take the rate and momentum of LEARNING_RATE and MOMENTUM, the rate falling linearly
over the run, and are evaluated on the same validation images. The losses of the first update show that the networks
are the same. PyTorch computes in float32; give --config.model.dtype=float32 for the same of ours.
"""

import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments import workloads
from experiments.command_line import Parser, exit_code, positive
from experiments.protocol import worker
from experiments.protocol.study import make_study

LEARNING_RATE = 0.1
MOMENTUM = 0.9
EVALUATIONS = 10


AXES = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
"""Of our arrays in PyTorch's order, by their number."""


def begin_with(params: Mapping[str, Any], network: Any) -> None:
    """Gives a PyTorch network the parameters of ours, whose layers are in the same order."""
    import torch

    for kind, first, others in (
        (torch.nn.Conv2d, ["stem"], "Conv"),
        (torch.nn.BatchNorm2d, ["stem_norm"], "GhostBatchNorm"),
        (torch.nn.Linear, ["logits"], ""),
    ):
        layers = [layer for layer in network.modules() if isinstance(layer, kind)]
        names = first + [f"{others}_{i}" for i in range(len(layers) - 1)]
        for layer, name in zip(layers, names, strict=True):
            for key, array in params[name].items():
                parameter = layer.bias if key == "bias" else layer.weight
                parameter.data.copy_(torch.tensor(np.asarray(array).transpose(AXES[array.ndim])))


def main() -> None:
    """Prints the accuracies of both, evaluation by evaluation."""
    parser = Parser(__doc__)
    parser.add_argument("--workload", choices=("resnet32_cifar10", "resnet50_imagenet"), default="resnet32_cifar10")
    parser.add_argument("--scale", choices=workloads.SCALES, default="paper")
    parser.add_argument("--updates", type=positive, default=2000)
    parser.add_argument("--batch-size", type=positive, default=32)
    flags, overrides = parser.parse_with_overrides(None)
    settings = {
        "batch_size": str(flags.batch_size),
        "budget_fresh_examples.baseline": str(flags.updates * flags.batch_size),
    }
    study = make_study(workloads.load(flags.workload, flags.scale, settings | overrides), "baseline", 1)
    os.environ.update(worker.environment(flags.scale))
    import torch
    from torch.nn import functional

    from benchmarks.peers import torch_resnet
    from experiments.protocol.training import Training, learning_rate
    from pipelines.sources import registry

    point = {"learning_rate": LEARNING_RATE, "momentum": MOMENTUM, "decay_share": 1.0}
    ours = Training(study, point)
    batches = ours.batches(ours.examples).as_numpy_iterator()
    dataset = registry.load(study.config["data"]).validation().batch(study.config["eval_batch_size"])
    validation = list(dataset.as_numpy_iterator())
    theirs = torch_resnet(study.config["model"], validation[0]["image"].shape[-1])
    decay = study.config["model"]["weight_decay"]
    kernels = [p for p in theirs.parameters() if p.ndim > 1]
    others = [p for p in theirs.parameters() if p.ndim == 1]
    optimizer = torch.optim.SGD(
        [{"params": kernels, "weight_decay": decay}, {"params": others}], lr=1.0, momentum=MOMENTUM, nesterov=True
    )

    def tensors(batch: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
        image = torch.tensor(batch["image"]).permute(0, 3, 1, 2).float() / 127.5 - 1
        return image.contiguous(), torch.tensor(batch["label"], dtype=torch.long)

    def accuracy() -> float:
        theirs.eval()
        with torch.no_grad():
            right = [(theirs(image).argmax(1) == label).float() for image, label in map(tensors, validation)]
        theirs.train()
        return float(torch.cat(right).mean())

    print(f"{study.workload}, {flags.scale}, batches of {flags.batch_size}")
    for step in range(1, flags.updates + 1):
        batch = next(batches)
        image, label = tensors(batch)
        if step == 1:
            ours.state = ours.first_state(ours.put(batch))
            begin_with(ours.state.params, theirs)
        our_loss = ours.update(batch)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(study, point, step)
        optimizer.zero_grad()
        loss = functional.cross_entropy(theirs(image), label)
        if step == 1:
            # Ours has the penalty of its weight decay in it, which PyTorch's optimizer adds to the gradients alone.
            penalty = 0.5 * decay * sum(float((kernel.detach() ** 2).sum()) for kernel in kernels)
            print(f"loss before the first update: ours {float(our_loss):.5f}, PyTorch {loss.item() + penalty:.5f}")
            print(f"{'update':>8}{'ours':>8}{'PyTorch':>9}", flush=True)
        loss.backward()
        optimizer.step()
        if step % max(1, flags.updates // EVALUATIONS) == 0:
            print(f"{step:8}{ours.evaluate():8.3f}{accuracy():9.3f}", flush=True)


if __name__ == "__main__":
    sys.exit(exit_code(main))
