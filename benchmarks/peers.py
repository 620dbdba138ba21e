"""The models of `models/` in PyTorch's own layers: what an update is timed against."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ModuleNotFoundError as error:
    raise SystemExit(f"error: {error}; pip install -r benchmarks/requirements.txt") from error

Batch = Mapping[str, np.ndarray]

set_threads = torch.set_num_threads


class TorchTransformer(nn.Module):
    """The model of models/transformer.py."""

    def __init__(self, vocab_size: int, length: int, width: int, layers: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, width)
        self.position = nn.Parameter(torch.randn(length, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, hidden, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.mask = nn.Transformer.generate_square_subsequent_mask(length)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [batch, length, vocabulary] for tokens [batch, length]."""
        inputs = functional.pad(tokens, (1, 0))[:, :-1]
        x = self.blocks(self.embed(inputs) + self.position, mask=self.mask, is_causal=True)
        return x @ self.embed.weight.T


class GhostNorm(nn.Module):
    """Batch normalisation over slices of `size` consecutive images, of the whole batch if None."""

    def __init__(self, channels: int, size: int | None) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width], normalised."""
        return torch.cat([self.norm(part) for part in x.split(self.size or len(x))])


class TorchBlock(nn.Module):
    """A residual block of models/resnet.py: two 3 x 3 convolutions, or a bottleneck."""

    def __init__(self, inputs: int, channels: int, stride: int, bottleneck: bool, ghost: int | None) -> None:
        super().__init__()
        outputs = 4 * channels if bottleneck else channels
        sizes = [(1, 1), (3, stride), (1, 1)] if bottleneck else [(3, stride), (3, 1)]
        widths = [inputs, *[channels] * (len(sizes) - 1), outputs]
        layers: list[nn.Module] = []
        for i, (size, step) in enumerate(sizes):
            convolution = nn.Conv2d(widths[i], widths[i + 1], size, step, size // 2, bias=False)
            layers += [convolution, GhostNorm(widths[i + 1], ghost), nn.ReLU()]
        self.branch = nn.Sequential(*layers[:-1])
        self.stride, self.missing = stride, outputs - inputs
        self.projection: nn.Module | None = None
        if bottleneck and (stride > 1 or self.missing):
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.projection = nn.Sequential(projection, GhostNorm(outputs, ghost))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's output, before which its two branches are summed."""
        if self.projection is not None:
            return functional.relu(self.branch(x) + self.projection(x))
        half = self.missing // 2
        shortcut = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.missing - half))
        return functional.relu(self.branch(x) + shortcut)


def torch_resnet(model: Mapping[str, Any], channels: int) -> nn.Module:
    """The network that a workload's `config.model` describes, for images of `channels` channels."""
    width, ghost = model["width"], model["ghost_batch_size"]
    if model["stem"] == "imagenet":
        stem = [nn.Conv2d(channels, width, 7, 2, 3, bias=False), GhostNorm(width, ghost), nn.ReLU()]
        stem += [nn.MaxPool2d(3, 2, 1)]
    else:
        stem = [nn.Conv2d(channels, width, 3, 1, 1, bias=False), GhostNorm(width, ghost), nn.ReLU()]
    bottleneck = model["name"] == "resnet_bottleneck"
    blocks: list[nn.Module] = []
    inputs = width
    for stage, count in enumerate(model["stages"]):
        for block in range(count):
            stride = 2 if stage and not block else 1
            blocks.append(TorchBlock(inputs, width * 2**stage, stride, bottleneck, ghost))
            inputs = width * 2**stage * (4 if bottleneck else 1)
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, model["num_classes"]))


def torch_updates(model: Mapping[str, Any], batch: Batch, updates: int) -> tuple[Callable[[], None], int]:
    """A function that takes `updates` updates on one batch with the peer of `model`, and its parameter count."""
    if model["name"] == "transformer":
        sizes = {key: model[key] for key in ("vocab_size", "length", "width", "layers", "heads", "hidden")}
        network: nn.Module = TorchTransformer(**sizes)
        inputs = targets = torch.tensor(batch["tokens"], dtype=torch.long)
    else:
        network = torch_resnet(model, batch["image"].shape[-1])
        inputs = (torch.tensor(batch["image"]).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()
        targets = torch.tensor(batch["label"], dtype=torch.long)
    decay = model.get("weight_decay", 0.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=decay)

    def run() -> None:
        for _ in range(updates):
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(inputs).flatten(0, -2), targets.flatten())
            loss.backward()
            optimizer.step()
            loss.item()

    return run, sum(p.numel() for p in network.parameters())
