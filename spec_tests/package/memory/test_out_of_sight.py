"""Decision 32: what is out of sight is selected away: infinities and NaN in it change nothing, gradients included.

Each test computes the same thing twice: with ordinary numbers out of sight and with numbers that are not finite.
"""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from atlas_ref.functional.attention import sliding_window_attention
from atlas_ref.functional.convolution import short_convolution
from atlas_ref.functional.ltm import ltm_scan
from atlas_ref.functional.qk_projection import BLOCK, qk_project
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.recurrent import MemoryOutput, memory_recurrent
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.state import MemoryState
from spec_tests.package.micro.models import (
    TIME,
    VARIANTS,
    call,
    carried_state,
    make_model,
    make_tokens,
)

GARBAGE = pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(torch.inf, id="inf"),
        pytest.param(-torch.inf, id="-inf", marks=pytest.mark.exhaustive),
        pytest.param(torch.nan, id="nan"),
    ],
)
BORDER = 9
"""The token of row 0 at which a document begins, inside every block; row 1 goes on with its document throughout."""

Inputs = dict[str, Tensor]


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positions(time: int, before: int) -> Tensor:
    """Return the positions of two rows: row 0 has `before` tokens behind it and a new document at BORDER."""
    running = before + torch.arange(time)
    return torch.stack([torch.where(torch.arange(time) >= BORDER, torch.arange(time) - BORDER, running), running + 40])


def spoilt(inputs: Inputs, garbage: float, sequences: Sequence[str], carried: Sequence[str]) -> Inputs:
    """Return inputs whose row 0 holds garbage in the last tokens of its first document and in what it carries."""
    out = {name: value.clone() for name, value in inputs.items()}
    for name in sequences:
        out[name][0, BORDER - 2 : BORDER] = garbage
    for name in carried:
        out[name][0] = garbage
    return out


def assert_unchanged(run: Callable[[Inputs], Tensor], plain: Inputs, other: Inputs, shared: Sequence[str]) -> None:
    """Assert that outputs in sight, and their gradients, are the same: those of row 0 from BORDER on and of row 1.

    `shared` inputs have no rows; what only the first document of row 0 uses may have any gradient.
    """
    found = []
    for inputs in (plain, other):
        leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
        output = run(leaves)
        weights = normal(7, *output.shape)
        kept = torch.cat([(output * weights)[0, BORDER:].flatten(), (output * weights)[1].flatten()])
        gradients = torch.autograd.grad(kept.sum(), list(leaves.values()), materialize_grads=True)
        found.append((kept, dict(zip(leaves, gradients, strict=True))))
    (kept, plain_gradients), (kept_other, other_gradients) = found
    assert torch.equal(kept, kept_other)
    for name, gradient in plain_gradients.items():
        pairs = [(gradient, other_gradients[name])] if name in shared else [(gradient[1], other_gradients[name][1])]
        if name not in shared and gradient.shape[1] > BORDER:
            pairs.append((gradient[0, BORDER:], other_gradients[name][0, BORDER:]))
        for expected, actual in pairs:
            assert torch.isfinite(actual).all(), name
            torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


@GARBAGE
@pytest.mark.parametrize("window", [4, 16])
def test_attention_sees_nothing_of_another_document_or_a_dead_cache(garbage: float, window: int) -> None:
    """Kills: a mask that is added to scores and leaves 0 * inf to the product with the values."""
    time, heads, dim = 19, 2, 4
    inputs = {name: normal(i, 2, time, heads, dim) for i, name in enumerate(("queries", "keys", "values"))}
    inputs |= {f"cache_{name}": normal(5 + i, 2, window - 1, heads, dim) for i, name in enumerate(("keys", "values"))}
    inputs |= {f"persistent_{name}": normal(8 + i, 3, heads, dim) for i, name in enumerate(("keys", "values"))}
    position = positions(time, 0)

    def run(x: Inputs) -> Tensor:
        return sliding_window_attention(
            x["queries"],
            x["keys"],
            x["values"],
            x["persistent_keys"],
            x["persistent_values"],
            x["cache_keys"],
            x["cache_values"],
            position,
            window,
        )[0]

    bad = spoilt(inputs, garbage, ("queries", "keys", "values"), ("cache_keys", "cache_values"))
    assert_unchanged(run, inputs, bad, ("persistent_keys", "persistent_values"))
    output = run(bad)
    assert torch.isnan(output[0, BORDER - 2 : BORDER]).all(), "a token that does see it says so"
    assert torch.equal(output[0, : BORDER - 2], run(inputs)[0, : BORDER - 2]), "the future is out of sight too"


@GARBAGE
def test_the_projection_sees_nothing_of_another_document_or_a_closed_carry(garbage: float) -> None:
    """Kills: a sum over a block whose other documents are multiplied by zero."""
    time, heads, dim = BLOCK + 6, 2, 4
    inputs = {"queries": normal(0, 2, time, heads, dim), "keys": normal(1, 2, time, heads, dim)}
    inputs["carry"] = normal(2, 2, heads, dim, dim)
    bad = spoilt(inputs, garbage, ("queries", "keys"), ("carry",))

    def run(x: Inputs) -> Tensor:
        projected, carry, norm = qk_project(x["queries"], x["keys"], x["carry"], positions(time, 0))
        end = carry.flatten(1).unsqueeze(1).expand(2, time, -1)
        return torch.cat([projected.flatten(2), norm, end], -1)

    assert_unchanged(run, inputs, bad, ())
    assert torch.isnan(run(bad)[0, BORDER - 2 : BORDER, :4]).all()


@GARBAGE
def test_a_closed_carry_that_is_in_sight_is_not_hidden(garbage: float) -> None:
    inputs = {"queries": normal(0, 2, 5, 2, 4), "keys": normal(1, 2, 5, 2, 4), "carry": normal(2, 2, 2, 4, 4)}
    inputs["carry"][1, 0] = garbage
    projected, carry, norm = qk_project(**inputs, position=positions(5, 0))
    assert torch.isnan(projected[1, :, 0]).all()
    assert torch.isfinite(projected[1, :, 1]).all(), "another head"
    assert torch.isnan(norm[1, :, 0]).all()
    assert not torch.isfinite(carry[1, 0]).any()


@GARBAGE
def test_the_convolution_sees_nothing_of_another_document_or_a_dead_tail(garbage: float) -> None:
    """Kills: a filter whose outputs are put right afterwards, while its gradient meets 0 * inf."""
    time, channels, kernel = 19, 3, 4
    inputs = {"x": normal(0, 2, time, channels), "tail": normal(1, 2, kernel - 1, channels)}
    inputs["weight"] = normal(2, channels, kernel)
    bad = spoilt(inputs, garbage, ("x",), ("tail",))
    position = positions(time, 0)

    def run(x: Inputs) -> Tensor:
        return short_convolution(x["x"], x["weight"], x["tail"], position)[0]

    assert_unchanged(run, inputs, bad, ("weight",))
    assert torch.isnan(run(bad)[0, BORDER - 2 : BORDER]).all()


@GARBAGE
def test_the_running_mean_sees_nothing_of_another_document(garbage: float) -> None:
    inputs = {"x": normal(0, 2, 19, 3), "carry": normal(1, 2, 3)}
    bad = spoilt(inputs, garbage, ("x",), ("carry",))
    assert_unchanged(lambda x: ltm_scan(x["x"], x["carry"], positions(19, 0), 0.9)[0], inputs, bad, ())


RULES = {
    "omega carry": MemoryRule("matrix", "omega", 4, "carry", "post", 0.5, "mass", 0.9, "quintic", 5),
    "titans mlp truncate pre": MemoryRule("mlp", "titans", 6, "truncate", "pre", 1.0, "mass", 0.9, "quintic", 5),
    "atlas every 2": MemoryRule("matrix", "atlas", 4, "carry", "post", 0.5, "mass", 0.9, "quintic", 3, 2),
    "omega literal every 3": MemoryRule("mlp", "omega", 5, "carry", "post", 0.5, "literal", 0.9, "quintic", 5, 3),
}


def memory_inputs(rule: MemoryRule) -> Inputs:
    """Return generic inputs of two rows, a window of 5, and a state of every kind of number."""
    time, heads, features, values, window, hidden = 19, 2, 4, 3, 5, 6
    inputs = {name: 0.5 * normal(i, 2, time, heads, features) for i, name in enumerate(("keys", "queries"))}
    inputs["values"] = normal(2, 2, time, heads, values)
    inputs["gates"] = 0.7 + 0.25 * torch.tanh(normal(3, 2, time, heads, 3))
    inputs["window"] = torch.sigmoid(normal(4, 2, time, heads, window))
    shapes = [(values, features)] if rule.architecture == "matrix" else [(values, hidden), (hidden, features)]
    past = window + rule.update_every - 2
    for i, shape in enumerate(shapes):
        inputs[f"initial_{i}"] = 0.3 * normal(10 + i, heads, *shape)
        for j, name in enumerate(("weights", "momentum", "anchor")):
            inputs[f"{name}_{i}"] = 0.3 * normal(20 + 3 * i + j, 2, heads, *shape)
    inputs["window_keys"] = 0.5 * normal(30, 2, past, heads, features)
    inputs["window_values"] = normal(31, 2, past, heads, values)
    if rule.update_every > 1:
        inputs["waiting"] = torch.sigmoid(normal(32, 2, rule.update_every - 1, heads, window))
    return inputs


def remember(form: Callable[..., MemoryOutput], rule: MemoryRule, x: Inputs) -> Tensor:
    """Return the reads and, spread over all tokens, the state after the call."""

    def matrices(name: str) -> tuple[Tensor, ...]:
        return tuple(x[key] for key in sorted(x) if key.startswith(f"{name}_") and key[-1].isdigit())

    waiting = (x["waiting"],) if "waiting" in x else ()
    state = MemoryState(
        matrices("weights"),
        matrices("momentum"),
        matrices("anchor"),
        x["window_keys"],
        x["window_values"],
        torch.tensor([0, 40]),
        waiting,
    )
    reset = torch.zeros(2, x["keys"].shape[1], dtype=torch.bool)
    reset[0, BORDER] = True
    retention, momentum, step = x["gates"].unbind(-1)
    gates = Gates(retention, momentum, 0.2 * step, x["window"])
    output = form(rule, x["keys"], x["values"], x["queries"], gates, matrices("initial"), state, reset)
    after = [tensor.flatten(1) for tensor in output.state.to_tensors().values() if tensor.is_floating_point()]
    spread = torch.cat(after, -1).unsqueeze(1).expand(2, output.reads.shape[1], -1)
    return torch.cat([output.reads.flatten(2), spread], -1)


@GARBAGE
@pytest.mark.parametrize("form", [memory_recurrent, memory_chunked], ids=["recurrent", "chunked"])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_memory_sees_nothing_that_a_dead_state_holds(
    form: Callable[..., MemoryOutput], rule: MemoryRule, garbage: float
) -> None:
    """Row 0 begins a document with its first token: the state that it carries is that of another. Gradients too.

    Kills: window weights of zero in place of a selection; a first token that multiplies the old state by zero.
    """
    inputs = memory_inputs(rule)
    carried = [name for name in inputs if name.startswith(("weights", "momentum", "anchor", "window_", "waiting"))]
    bad = spoilt(inputs, garbage, (), carried)
    shared = [name for name in inputs if name.startswith("initial")]
    assert_unchanged(lambda x: remember(form, rule, x), inputs, bad, shared)


@GARBAGE
@pytest.mark.parametrize("form", [memory_recurrent, memory_chunked], ids=["recurrent", "chunked"])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_memory_sees_nothing_of_another_document_in_the_call(
    form: Callable[..., MemoryOutput], rule: MemoryRule, garbage: float
) -> None:
    """The last tokens of a document are not finite; the next document reads, writes and learns as if they were.

    The first document's own M_0 is spoilt by its own loss, so the gradient of `initial` is not asked.
    """
    inputs = memory_inputs(rule)
    bad = spoilt(inputs, garbage, ("keys", "values", "gates", "window"), ())
    kept = {name: value for name, value in inputs.items() if not name.startswith("initial")}
    fixed = {name: value for name, value in inputs.items() if name.startswith("initial")}
    bad = {name: bad[name] for name in kept}
    assert_unchanged(lambda x: remember(form, rule, {**x, **fixed}), kept, bad, ())


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_model_begins_a_document_afresh_after_one_that_diverged(variant: str) -> None:
    """A reset over a state full of NaN is a fresh start, in the logits, the state and every parameter's gradient.

    Kills: any part of the block that multiplies what a closed document left by zero.
    """
    model, tokens = make_model(variant), make_tokens(2, seed=5)
    fresh = model.initial_state(2)
    diverged = carried_state(model, 2).map(
        lambda tensor: torch.full_like(tensor, torch.nan) if tensor.is_floating_point() else tensor
    )
    reset = torch.zeros(2, TIME, dtype=torch.bool)
    reset[:, 0] = True
    logits, states, gradients = [], [], []
    for state in (fresh, diverged):
        output = call(model, tokens, state, reset)
        logits.append(output.logits)
        states.append(output.state)
        found = torch.autograd.grad(output.logits.square().sum(), list(model.parameters()), allow_unused=True)
        gradients.append(found)
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-12, atol=1e-12)
    kept, found_after = (state.to_tensors() for state in states)
    for name, tensor in kept.items():
        # What no query is turned by is handed on as it came (BLOCK-6).
        if ".projections." not in name or model.config.memory.qk_projection.kind != "none":
            torch.testing.assert_close(found_after[name], tensor, rtol=1e-12, atol=1e-12)
    for expected, actual in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)
