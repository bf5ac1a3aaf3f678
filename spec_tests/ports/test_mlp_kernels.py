"""Triton's kernels of the memory of two layers, interpreted where there is no GPU, against the recurrence in float64.

Blocks of hidden units and groups of segments are made small, so that a call has several of both, the last one short.
"""

from dataclasses import replace
from typing import Any, Final, NamedTuple

import pytest
import torch
from torch import Tensor

from atlas_ref.memory.bias import Bias
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.kernels import choice, known
from atlas_ref.memory.kernels.call import Asked
from atlas_ref.memory.recurrent import memory_recurrent
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.segments import Start
from atlas_ref.memory.state import fresh_memory_state

# The port first: it asks for the interpreter, which Triton reads where it is imported.
DEVICE = pytest.importorskip("spec_tests.ports.kernels").DEVICE
pytest.importorskip("triton", reason="the kernels need the package triton: pip install 'atlas-spec[triton]'")

HEADS, FEATURES, VALUES, HIDDEN = 1, 3, 4, 20
ROUNDING: Final = 3e-6
"""Of single precision in a few tokens, relative to the largest entry; a term that is missing costs 1e-2 and more."""


class Case(NamedTuple):
    """A rule, how long its window is, where its rows stand, which tokens begin a document, and where a call ends."""

    rule: dict[str, Any]
    window: int = 1
    position: tuple[int, ...] = (0,)
    reset: tuple[tuple[int, int], ...] = ()
    time: int = 7
    cut: int = 0


CASES: dict[str, Case] = {
    "a call that begins inside a chunk": Case({"chunk": 3}, 2, (1,), ((0, 2),), 4),
    "every segment opens": Case({"name": "titans", "read": "pre", "boundary": "truncate", "step_scale": "literal"}),
    "rows out of step over two calls": Case({}, 2, (0, 1), ((1, 3),), 5, 2),
    "delta with a document": Case({"name": "delta", "loss_scale": 1.0}, 1, (1, 2), ((0, 4),)),
    "gathered losses": Case({"update_every": 2, "chunk": 4}, 2, (2, 0), ((0, 5),), 9, 5),
    "a window of several segments": Case({"boundary": "carry"}, 6, (3, 0), ((1, 2), (1, 6)), 9, 4),
}
OFTEN: Final = "a call that begins inside a chunk"


def rule_of(changes: dict[str, Any]) -> MemoryRule:
    plain = {
        "architecture": "mlp",
        "name": "omega",
        "chunk": 2,
        "boundary": "carry",
        "read": "post",
        "loss_scale": 0.5,
        "step_scale": "mass",
        "momentum_max": 0.9,
        "coefficients": "quintic",
        "newton_schulz_steps": 5,
    }
    return MemoryRule(**{**plain, **changes})


def drawn(case: Case) -> dict[str, Tensor]:
    """Return what a case is given that has a gradient: errors are large enough for kappa to divide them."""
    random, batch, past = torch.Generator().manual_seed(3), len(case.position), case.window - 1
    layers = {"0": (HEADS, VALUES, HIDDEN), "1": (HEADS, HIDDEN, FEATURES)}
    tokens = (batch, case.time, HEADS)
    sizes = {"keys": FEATURES, "values": VALUES, "queries": FEATURES}
    found = {name: torch.randn(*tokens, size, generator=random) for name, size in sizes.items()}
    found |= {f"initial.{n}": torch.randn(shape, generator=random) / 3 for n, shape in layers.items()}
    for name in ("weights", "momentum", "anchor"):
        found |= {f"{name}.{n}": torch.randn(batch, *shape, generator=random) / 3 for n, shape in layers.items()}
    gates = dict(zip(("retention", "momentum_decay", "step"), torch.rand(3, *tokens, generator=random), strict=True))
    found |= gates | {"window": torch.rand(*tokens, case.window, generator=random)}
    # What stands before a document is not kept.
    live = torch.arange(past, 0, -1) <= torch.tensor(case.position)[:, None]
    for name, size in (("window_keys", FEATURES), ("window_values", VALUES)):
        found[name] = live[..., None, None] * torch.randn(batch, past, HEADS, size, generator=random)
    return found


def answers(case: Case, kind: torch.dtype, kernels: bool) -> dict[str, Tensor]:
    """Return reads, losses, the state after the last call, and the gradients of all that was given."""
    rule, x = rule_of(case.rule), {n: v.to(DEVICE, kind).requires_grad_() for n, v in drawn(case).items()}
    initial, *held = ((x[f"{n}.0"], x[f"{n}.1"]) for n in ("initial", "weights", "momentum", "anchor"))
    state = fresh_memory_state(initial, len(case.position), case.window, FEATURES, VALUES, rule.update_every)
    if any(case.position):
        position = torch.tensor(case.position, device=DEVICE)
        state = replace(state, weights=held[0], momentum=held[1], anchor=held[2], position=position)
    if rule.update_every == 1:
        state = replace(state, window_keys=x["window_keys"], window_values=x["window_values"])
    reset = torch.zeros(len(case.position), case.time, dtype=torch.bool, device=DEVICE)
    for row, token in case.reset:
        reset[row, token] = True
    tokens = [x[name] for name in ("keys", "values", "queries", "retention", "momentum_decay", "step", "window")]
    found = dict[str, Tensor]()
    for part in (slice(0, case.cut), slice(case.cut, case.time))[0 if case.cut else 1 :]:
        k, v, q, *gates = (token[:, part] for token in tokens)
        begins = reset[:, part] if reset[:, part].any() else None
        given = (rule, k, v, q, Gates(*gates), initial, state, begins)
        output = memory_chunked(*given, kernels="triton") if kernels else memory_recurrent(*given)
        state = output.state
        found[f"reads.{part.start}"] = output.reads
        if output.omega_loss is not None:
            found[f"loss.{part.start}"] = output.omega_loss
    found |= dict(state.to_tensors())
    random, asked = torch.Generator().manual_seed(4), dict[str, Tensor]()
    for name, each in found.items():
        if each.requires_grad and not name.startswith("loss"):
            asked[name] = torch.randn(each.shape, generator=random).to(each)
    slopes = torch.autograd.grad(
        [found[name] for name in asked],
        list(x.values()),
        list(asked.values()),
        allow_unused=True,
        materialize_grads=True,
    )
    found |= {f"d_{name}": slope for name, slope in zip(x, slopes, strict=True)}
    return {name: each.detach().double().cpu() for name, each in found.items() if each.numel()}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(c, id=n.replace(" ", "-"), marks=[] if n == OFTEN else pytest.mark.exhaustive)
        for n, c in CASES.items()
    ],
)
def test_kernels_of_two_layers_are_the_recurrence_with_every_gradient(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: an anchor of another segment of its group; a gradient of the anchor that M does not get; a block of hidden
    units, or the last group, that nobody adds; the slope of kappa; a window that belongs to the call before."""
    from atlas_ref.memory.kernels import mlp_held, mlp_run

    runs, run = list[Any](), choice.kernel_run
    monkeypatch.setattr(mlp_held, "BLOCK", 16)
    for module in (mlp_held, mlp_run):
        monkeypatch.setattr(module, "group_of", lambda segments: min(segments, 3))

    def noted(*given: Any) -> Any:
        runs.append(run(*given))
        return runs[-1]

    monkeypatch.setattr("atlas_ref.memory.chunked.kernel_run", noted)
    found, wanted = answers(case, torch.float32, kernels=True), answers(case, torch.float64, kernels=False)
    assert [each.__name__ for each in runs] == ["run_mlp_kernels"] * (2 if case.cut else 1)
    for name, right in wanted.items():
        worst = float((found[name] - right).abs().max()) / max(float(right.abs().max()), 1e-6)
        assert worst < ROUNDING, name


@pytest.mark.parametrize(
    ("changes", "features", "slots", "kind"),
    [
        ({"read": "anchor"}, 64, 64, torch.float32),
        ({"name": "atlas"}, 64, 64, torch.float32),
        ({"architecture": "matrix"}, 64, 64, torch.float32),
        ({"bias": Bias("robust")}, 64, 64, torch.float32),
        ({}, 65, 64, torch.float32),
        ({}, 64, 129, torch.float32),
        ({}, 64, 64, torch.float64),
        ({}, 0, 64, torch.float32),
    ],
    ids=str,
)
def test_the_kernels_of_two_layers_are_given_what_they_know_and_nothing_else(
    changes: dict[str, Any], features: int, slots: int, kind: torch.dtype
) -> None:
    plain, keys = torch.zeros(1, 2, 1, 64), torch.zeros(1, 2, 1, features, dtype=kind)
    assert known.supports_mlp(rule_of({}), plain, plain.bfloat16(), 128)
    assert not known.supports_mlp(rule_of(changes), keys, keys, slots)


@pytest.mark.parametrize("kernels", ["auto", "triton"])
def test_a_gpu_takes_the_kernels_of_two_layers_as_those_of_a_matrix(
    kernels: choice.Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: kernels that `auto` leaves out, and two layers that are run by those of a matrix."""
    monkeypatch.setattr(choice, "chosen", lambda *_: "triton")
    tokens = torch.zeros(2, 5, 3, 8)
    runs = [
        choice.kernel_run(kernels, rule, Asked(tokens, tokens, tokens), 4, 0, Start((), None))
        for rule in (rule_of({}), replace(rule_of({}), architecture="matrix"))
    ]
    assert [getattr(run, "__name__", None) for run in runs] == ["run_mlp_kernels", "run_linear_kernels"]
