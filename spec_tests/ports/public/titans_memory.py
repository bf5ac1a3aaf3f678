"""titans-memory: `_retrieve_chunked` of its NeuralMemory with one layer, a matrix, from a new document on.

It takes keys, values, queries and gates of a sequence and returns the reads, so M and S are read out of it: tokens
that write nothing (theta = 0, alpha = 0, eta = 0) are appended, whose queries are the unit vectors and whose reads are
the columns of M; with eta = alpha = 1 in place of 0 they are the columns of S. Each row and head is a call, keys
and values are padded to one width.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from spec_tests.port import Feature, Numerics, Op
from spec_tests.ports.public.documents import Memory, scan, step
from spec_tests.ports.public.torch_port import Config, Function, Tensors, TorchPort, values


def document(config: Config, memory: Memory, tokens: Tensors) -> tuple[Tensor, Memory]:
    """Return the reads and the memory of one document, head by head."""
    heads = range(memory.weights.shape[0])
    found = [_head(config, memory.weights[h], {name: _of(name, x, h) for name, x in tokens.items()}) for h in heads]
    reads, states = [read for read, _ in found], [state for _, state in found]
    return torch.stack(reads, dim=1), Memory(*(torch.stack(parts) for parts in zip(*states, strict=True)))


def _of(name: str, x: Tensor, head: int) -> Tensor:
    return x if name == "reset" else x[:, head]


def _head(config: Config, weights: Tensor, tokens: Tensors) -> tuple[Tensor, Memory]:
    values, features = weights.shape
    wide, chunk = max(weights.shape), config["chunk"]
    module: Any = import_module("titans.memory.neural_memory").NeuralMemory(wide, n_layers=1, chunk_size=chunk)
    module.memory.net[-1].weight = torch.nn.Parameter(pad(weights, (0, wide - features, 0, wide - values)))

    def columns(first: Tensors, gate: float) -> Tensor:
        reads = _retrieved(module, config, first, wide, probes=features, gate=gate)
        return reads[first["reset"].shape[0] :, :values].mT

    reads = _retrieved(module, config, tokens, wide, probes=0, gate=0.0)[:, :values]
    began = (tokens["reset"].shape[0] - 1) // chunk * chunk
    anchor = columns({name: x[:began] for name, x in tokens.items()}, 0.0) if began else weights
    return reads, Memory(columns(tokens, 0.0), columns(tokens, 1.0), anchor)


def _retrieved(module: Any, config: Config, tokens: Tensors, wide: int, *, probes: int, gate: float) -> Tensor:
    q, k, v = (pad(tokens[name], (0, wide - tokens[name].shape[-1])) for name in ("queries", "keys", "values"))
    theta = 2.0 * config["loss_scale"] * tokens["step_size"] * tokens["window_weights"][:, 0]
    q = torch.cat([q, torch.eye(wide, dtype=q.dtype)[:probes]])
    k, v = (pad(x, (0, 0, 0, probes)) for x in (k, v))
    gates = [
        pad(x, (0, probes), value=fill)[:, None].expand(-1, wide)
        for x, fill in ((theta, 0.0), (tokens["momentum_decay"], gate), (1.0 - tokens["retention"], gate))
    ]
    if not len(q):
        return q
    found: Tensor = module._retrieve_chunked(*(x.unsqueeze(0) for x in (q, k, v, *gates)))[0]
    return found.detach()


class TitansMemory(TorchPort):
    """Chunks as they are, from a new document on."""

    distribution = "titans-memory"
    numerics = (Numerics.F64, Numerics.F32)
    only = values(architecture="matrix", step_scale="literal", rule="titans", read="post")
    longest: Mapping[str, int] = {"window": 1}
    without = frozenset({Feature.STATE})

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return the three forms of the memory."""
        return {Op.MEMORY_STEP: step(document), Op.MEMORY_SCAN: scan(document), Op.MEMORY_CHUNKED: scan(document)}
