"""titans-unofficial: its write of one token and its read, with a memory of one matrix.

Keys and queries are handed over as they are: their normalisation, which stands between projection and memory, is left
out with the projections, and they are padded with zeros to one width. Its loss is |M k - v|^2: theta = eta loss_scale
gamma. Gates are sigmoids, so they are handed over as logits, the forgetting gate shifted by the constant that it adds.
Its layer has a bias, which is held at zero. Heads are rows of its batch.
"""

from collections.abc import Mapping
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import pad

from spec_tests.port import Numerics, Op
from spec_tests.ports.public.documents import Memory, one_by_one, scan, step
from spec_tests.ports.public.torch_port import MEMORY, Config, Function, Tensors, TorchPort, values


class Entries(nn.Module):
    """In place of a projection: some of the entries of a token."""

    def __init__(self, entries: slice) -> None:
        super().__init__()
        self.entries = entries

    def forward(self, token: Tensor) -> Tensor:
        return token[..., self.entries]


def token(config: Config, memory: Memory, tokens: Tensors) -> tuple[Tensor, Memory]:
    """Return the read and the memory after one token, or before it where `read` says so."""
    package: Any = import_module("titans.utils.memory")
    package.F = SimpleNamespace(**{**vars(functional), "normalize": lambda x, dim: x})
    features, width = tokens["keys"].shape[-1], tokens["values"].shape[-1]
    wide = max(features, width)
    module = package.NeuralMemoryModule(wide, memory_depth=1, max_grad_norm=None)
    for place, name in enumerate(("W_K", "W_V", "W_Q")):
        setattr(module, name, Entries(slice(place * wide, (place + 1) * wide)))
    for place, name in enumerate(("theta_proj", "eta_proj", "alpha_proj"), start=3 * wide):
        setattr(module, name, Entries(slice(place, place + 1)))
    state = ([_square(memory.weights, wide), _bias(memory)], [_square(memory.momentum, wide), _bias(memory)])
    x = _packed(config, tokens, wide, package.FORGET_GATE_SHIFT)
    (written, _), (surprise, _) = module._update_step(x, state)
    seen = state if config["read"] == "pre" else ([written, _bias(memory)], [surprise, _bias(memory)])
    read = module.retrieve(x.unsqueeze(1), seen)[:, 0, :width]
    weights, momentum = (part[:, :width, :features] for part in (written, surprise))
    return read.unsqueeze(0), Memory(weights, momentum, memory.weights)


def _square(matrix: Tensor, wide: int) -> Tensor:
    return pad(matrix, (0, wide - matrix.shape[-1], 0, wide - matrix.shape[-2]))


def _bias(memory: Memory) -> Tensor:
    wide = max(memory.weights.shape[-2:])
    return memory.weights.new_zeros(memory.weights.shape[0], wide)


def _packed(config: Config, tokens: Tensors, wide: int, shift: float) -> Tensor:
    parts: list[Any] = [
        pad(tokens[name][0], (0, wide - tokens[name].shape[-1])) for name in ("keys", "values", "queries")
    ]
    rate = config["loss_scale"] * tokens["step_size"][0] * tokens["window_weights"][0, :, 0]
    forgets = (1.0 - tokens["retention"][0]).logit() + shift
    gates = torch.stack([rate.logit(), tokens["momentum_decay"][0].logit(), forgets], dim=-1)
    return torch.cat([*parts, gates], dim=-1)


class TitansUnofficial(TorchPort):
    """The plainest memory, read before the write, as its forward pass does, or after it."""

    distribution = "titans-unofficial"
    only = MEMORY | values(rule="titans")
    longest: Mapping[str, int] = {"window": 1}
    numerics = (Numerics.F64, Numerics.F32)
    gradients = True

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return one token and the recurrence."""
        whole = scan(one_by_one(token))
        return {Op.MEMORY_STEP: step(token), Op.MEMORY_SCAN: whole, Op.MEMORY_GRAD: whole}
