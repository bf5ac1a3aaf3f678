"""fla-core (flash-linear-attention): the naive delta rules on the CPU, which its kernels are tested against.

They compute in float32 and scale queries by features^-1/2, so queries are handed over times the root. Step sizes are
beta = 2 loss_scale gamma eta, gates are logarithms.

Gated DeltaNet and KDA take the error at the retained memory: `error_at` = `retained` of `miras_scan`. The same code is
the rule `delta`, with the error at the memory before, where it is given beta / alpha and alpha v:
alpha M - beta / alpha (alpha M k - alpha v) k^T = alpha M - beta (M k - v) k^T, for alpha > 0.

S, which the packages do not return, is what they take away from the retained memory in a step of size 1.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from spec_tests.port import Feature, Op
from spec_tests.ports.public.documents import Memory, one_by_one, scan, step
from spec_tests.ports.public.torch_port import MEMORY, SINGLE, Config, Function, Tensors, TorchPort, values

Rule = Callable[[Tensors, Tensor], tuple[Tensor, Tensor]]
"""From queries, keys, values, gates and beta [1, time, heads, ...] and a state [1, heads, K, V] to reads and state."""


def delta(x: Tensors, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `delta_rule_recurrence` does; it knows no gate."""
    turned = (x[name].transpose(1, 2) for name in ("queries", "keys", "values", "beta"))
    reads, state = import_module("fla.ops.delta_rule.naive").delta_rule_recurrence(*turned, initial_state=state)
    return reads.transpose(1, 2), state


def gated(x: Tensors, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `naive_recurrent_gated_delta_rule` does."""
    return _gated("naive_recurrent_gated_delta_rule", x, state)


def gated_chunk(x: Tensors, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `naive_chunk_gated_delta_rule` does, in chunks of 4."""
    return _gated("naive_chunk_gated_delta_rule", x, state, chunk_size=4)


def kda(x: Tensors, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `naive_recurrent_kda` does, with a gate a feature."""
    rule = import_module("fla.ops.kda.naive").naive_recurrent_kda
    given = (x["queries"], x["keys"], x["values"], x["gates"], x["beta"])
    reads, state = rule(*given, initial_state=state, output_final_state=True)
    return reads, state


def _gated(name: str, x: Tensors, state: Tensor, **chunk: int) -> tuple[Tensor, Tensor]:
    rule: Any = getattr(import_module("fla.ops.gated_delta_rule.naive"), name)
    given = {"q": x["queries"], "k": x["keys"], "v": x["values"], "g": x["gates"], "beta": x["beta"]}
    reads, state = rule(**given, **chunk, initial_state=state, output_final_state=True)
    return reads, state


def by(rule: Rule, *, previous: bool, columns: bool = False) -> Any:
    """Return the document of a rule; `previous`: given so that it takes the error at the memory before."""

    def document(config: Config, memory: Memory, tokens: Tensors) -> tuple[Tensor, Memory]:
        alpha = tokens["retention"].float()
        alpha = alpha if alpha.ndim == 3 else alpha.unsqueeze(-1)
        beta = 2.0 * config["loss_scale"] * tokens["step_size"] * tokens["window_weights"][..., 0]
        keys, vectors = tokens["keys"], tokens["values"]
        x = {
            "queries": tokens["queries"] * keys.shape[-1] ** 0.5,
            "keys": keys,
            "values": alpha * vectors if previous else vectors,
            "gates": alpha.log() if columns else alpha.log().squeeze(-1),
            "beta": beta / alpha.squeeze(-1) if previous else beta,
        }
        x = {name: value.unsqueeze(0) for name, value in x.items()}
        reads, state = rule(x, memory.weights.mT.unsqueeze(0))
        last = {name: value[:, -1:] for name, value in x.items()}
        before = _before(rule, x, memory)
        # One step of size 1: beta 1 under the rule as it is, 1 / alpha where it is given beta / alpha.
        unit = last | {"beta": 1.0 / alpha[None, -1:, :, 0] if previous else torch.ones_like(last["beta"])}
        kept = before * alpha[-1].unsqueeze(-1)
        written = rule(unit, before.unsqueeze(0))[1][0]
        weight = 2.0 * config["loss_scale"] * tokens["window_weights"][-1, :, 0]
        momentum = weight[:, None, None] * (kept - written)
        return reads[0], Memory(state[0].mT, momentum.mT, before.mT)

    return document


def _before(rule: Rule, x: Tensors, memory: Memory) -> Tensor:
    """Return the state [heads, K, V] before the last token."""
    first = {name: value[:, :-1] for name, value in x.items()}
    start = memory.weights.mT
    return rule(first, start.unsqueeze(0))[1][0] if first["keys"].shape[1] else start


MIRAS = MEMORY | values(
    rule="delta",
    bias="l2",
    link="identity",
    retention="dual",
    algorithm="gd",
    error_at="retained",
    read="post",
)


class _Naive(TorchPort):
    """One of the rules; all compute in float32."""

    distribution = "fla-core"
    numerics = SINGLE
    gradients = True
    longest: Mapping[str, int] = {"window": 1}


class Delta(_Naive):
    """`delta_rule_recurrence`: the rule `delta` without retention."""

    only = MEMORY | values(rule="delta", read="post")
    without = frozenset({Feature.RETENTION})

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return the three forms of the memory."""
        document = by(delta, previous=False)
        return {
            Op.MEMORY_STEP: step(document),
            Op.MEMORY_SCAN: scan(one_by_one(document)),
            Op.MEMORY_CHUNKED: scan(document),
            Op.MEMORY_GRAD: scan(document),
        }


class GatedDelta(_Naive):
    """Gated DeltaNet as it is: the error at the retained memory."""

    only = MIRAS | values(gate_axis="head")

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return the recurrence, and the form in chunks."""
        return {
            Op.MIRAS_SCAN: scan(by(gated, previous=False)),
            Op.MIRAS_CHUNKED: scan(by(gated_chunk, previous=False)),
        }


class GatedDeltaAsDelta(_Naive):
    """The same code given beta / alpha and alpha v: the rule `delta`, with the error at the memory before."""

    only = MEMORY | values(rule="delta", read="post")
    without = frozenset({Feature.GATE_ENDS})

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return the three forms of the memory."""
        return {
            Op.MEMORY_STEP: step(by(gated, previous=True)),
            Op.MEMORY_SCAN: scan(by(gated, previous=True)),
            Op.MEMORY_CHUNKED: scan(by(gated_chunk, previous=True)),
            Op.MEMORY_GRAD: scan(by(gated_chunk, previous=True)),
        }


class Kda(_Naive):
    """Kimi Delta Attention: a gate a feature."""

    only = MIRAS | values(gate_axis="columns")

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return the recurrence."""
        return {Op.MIRAS_SCAN: scan(by(kda, previous=False, columns=True))}


class Mesa(_Naive):
    """MesaNet solved exactly: ridge regression, with a regulariser a feature."""

    longest: Mapping[str, int] = {}
    # It is solved as a general system, so that the derivative by the sum of keys is no symmetric matrix (RULE-24).
    gradients = False

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return ridge regression over a sequence."""
        return {Op.RIDGE_SCAN: ridge}


def ridge(config: Config, x: Tensors) -> Tensors:
    """Return reads and sums of `naive_mesa_net_exact`, a document a call; its sums are transposed and of one width."""
    del config
    exact = import_module("fla.ops.mesa_net.naive").naive_mesa_net_exact
    wide = max(x["keys"].shape[-1], x["values"].shape[-1])
    found: list[Tensors] = []
    for row in range(x["position"].shape[0]):
        found.append(_ridge_row(exact, {name: v if name == "ridge" else v[row] for name, v in x.items()}, wide))
    if not found:
        return {"reads": x["values"], **{name: x[name] for name in ("cross", "gram", "position")}}
    return {name: torch.stack([each[name] for each in found]) for name in found[0]}


def _ridge_row(exact: Any, x: Tensors, wide: int) -> Tensors:
    features, width = x["keys"].shape[-1], x["values"].shape[-1]
    pad = torch.nn.functional.pad
    gram = pad(x["gram"], (0, wide - features, 0, wide - features))
    cross = pad(x["cross"].mT, (0, wide - width, 0, wide - features))
    # A feature that is only there to make widths equal has a regulariser that is no zero.
    ridge = pad(x["ridge"], (0, wide - features), value=1.0)
    position, time = int(x["position"]), x["reset"].shape[0]
    begins = [place for place in range(time) if x["reset"][place] or (place == 0 and position == 0)]
    reads = [x["values"][:0]]
    for start, end in zip(cuts := sorted({0, *begins}), [*cuts[1:], time], strict=True):
        if start in begins:
            gram, cross, position = torch.zeros_like(gram), torch.zeros_like(cross), 0
        if end > start:
            q, k = (pad(x[name][start:end], (0, wide - features))[None] for name in ("queries", "keys"))
            v = pad(x["values"][start:end], (0, wide - width))[None]
            gates = (x["retention"][start:end].log()[None], ridge, x["step_size"][start:end][None])
            read, after, over = exact(q, k, v, *gates, h_kk_init=gram[None], h_kv_init=cross[None])
            gram, cross = after[0], over[0]
            reads.append(read[0, ..., :width])
        position += end - start
    return {
        "reads": torch.cat(reads),
        "gram": gram[:, :features, :features],
        "cross": cross[:, :features, :width].mT,
        "position": torch.tensor(position),
    }
