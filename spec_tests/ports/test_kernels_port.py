"""Triton's kernels, interpreted where there is no GPU, against the recurrence and the numpy loop in float64."""

from typing import Any, Final

import numpy as np
import pytest
import torch

from atlas_ref.blocks.memory_layer import MemoryLayer
from atlas_ref.blocks.timeline import make_timeline
from atlas_ref.config import load_config
from atlas_ref.errors import UserError
from atlas_ref.memory.kernels import choice
from atlas_ref.models.registry import build_model
from spec_tests.chapters.memory_chunked.grid import call, cotangents, gradients
from spec_tests.chapters.memory_step.calls import expected, worst
from spec_tests.contract.driver import run_with_gradients
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Numerics, Op, UnsupportedError
from spec_tests.ports.reference import ReferencePort

# The port first: it asks for the interpreter, which Triton reads where it is imported.
kernels = pytest.importorskip("spec_tests.ports.kernels")
pytest.importorskip("triton", reason="the kernels need the package triton: pip install 'atlas-spec[triton]'")

ROUNDING: Final = 5e-6
"""Of single precision in a few tokens, relative to the largest entry; a term that is missing costs 1e-2 and more."""
PLAIN: Final[dict[str, Any]] = {
    "rule": "omega",
    "architecture": "matrix",
    "time": 5,
    "chunk": 3,
    "window": 2,
    "basis": "monomial",
    "boundary": "carry",
    "read": "post",
    "loss_scale": 0.5,
    "step_scale": "mass",
}


@pytest.mark.parametrize(
    "changes",
    [
        {"reset": (1, 2)},
        {
            "rule": "titans",
            "read": "pre",
            "boundary": "truncate",
            "step_scale": "literal",
            "loss_scale": 1.0,
            "time": 7,
        },
        {"rule": "atlas", "read": "pre", "reset": (0, 3)},
    ],
    ids=["a-reset-and-rows-out-of-step", "titans-read-before", "newton-schulz"],
)
def test_kernels_are_the_recurrence_in_outputs_states_and_gradients(changes: dict[str, Any]) -> None:
    cell = {**PLAIN, **changes}
    config, inputs = call(cell, seed=0)
    inputs = {name: value if name == "initial" else value[:2] for name, value in inputs.items()}
    if "reset" in cell:
        inputs["reset"][cell["reset"]] = 1
    asked = cotangents(inputs, seed=0)
    found = run_with_gradients(kernels.TritonPort(), Op.MEMORY_CHUNKED, Numerics.F32, inputs, asked, **config)
    wanted = run_with_gradients(ReferencePort(), Op.MEMORY_SCAN, Numerics.F64, inputs, asked, **config)
    assert worst(found.outputs, expected(config, inputs)) < ROUNDING
    assert worst(found.outputs, gradients(wanted)) < ROUNDING


HEADS, KEY, VALUE, KERNEL, EPS = 2, 3, 4, 3, 1e-6
POSITION: Final = np.array([[0, 1, 2, 3, 0, 1], [1, 2, 3, 0, 1, 2]])


def front_by_loops(x: Array, weight: Array, tail: Array, scale: Array) -> tuple[Array, Array, Array]:
    """Return queries and keys of length `scale`, and values, from a loop over tokens and ages."""
    filtered = np.zeros_like(x)
    padded = np.concatenate([tail, x], 1)
    for row, token, age in np.ndindex(*POSITION.shape, KERNEL):
        if age <= POSITION[row, token]:
            filtered[row, token] += weight[:, KERNEL - 1 - age] * padded[row, token + KERNEL - 1 - age]
    addresses = (filtered / (1.0 + np.exp(-filtered)))[..., : 2 * HEADS * KEY].reshape(*POSITION.shape, 2, HEADS, KEY)
    scaled = scale * addresses / np.sqrt((addresses**2).sum(-1, keepdims=True) + EPS**2)
    return scaled[:, :, 0], scaled[:, :, 1], filtered[..., 2 * HEADS * KEY :].reshape(*POSITION.shape, HEADS, VALUE)


def test_the_front_is_convolution_silu_and_norm_of_what_a_token_may_see_with_its_gradients() -> None:
    """Kills: a filter that reaches into another context, which is NaN here, or beyond the call; a sum over channels."""
    from atlas_ref.memory.kernels.front import front

    rng = generator(7)
    channels = HEADS * (2 * KEY + VALUE)
    x, weight = rng.standard_normal((2, 6, channels)), rng.standard_normal((channels, KERNEL))
    tail = rng.standard_normal((2, KERNEL - 1, channels))
    tail[0] = tail[1, 0] = np.nan
    given = {"x": x, "weight": weight, "tail": tail, "scale": np.array([1.5])}
    leaves = {
        name: torch.tensor(value, dtype=torch.float32, device=kernels.DEVICE, requires_grad=True)
        for name, value in given.items()
    }
    place = torch.tensor(POSITION, device=kernels.DEVICE)
    widths = choice.Widths(HEADS, KEY, VALUE, EPS)
    found = front(leaves["x"], leaves["weight"], leaves["tail"], place, leaves["scale"], widths, torch.float32)
    asked = [rng.standard_normal(part.shape) for part in found]
    for part, wanted in zip(found, front_by_loops(**given), strict=True):
        assert np.abs(part.detach().cpu().numpy() - wanted).max() < ROUNDING
    torch.autograd.backward(found, [torch.tensor(part).to(found[0]) for part in asked])
    for name, leaf in leaves.items():
        step = 1e-5 * rng.standard_normal(leaf.shape)
        ahead, behind = (front_by_loops(**{**given, name: given[name] + sign * step}) for sign in (1.0, -1.0))
        slope = sum(float(((a - b) * c).sum()) / 2.0 for a, b, c in zip(ahead, behind, asked, strict=True))
        assert leaf.grad is not None
        gradient = leaf.grad.cpu().numpy()
        size = float(np.sqrt((gradient**2).sum() * (step**2).sum()))
        assert abs(float((gradient * step).sum()) - slope) < 1e-5 * size, name
    assert leaves["tail"].grad is not None
    assert not leaves["tail"].grad[0].any(), "what no token sees has no gradient"


def test_the_port_of_the_kernels_answers_by_kernels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    config, inputs = call({**PLAIN, "time": 2}, seed=1)
    ran: list[str] = []
    run = choice.kernel_run

    def seen(*question: Any) -> Any:
        found = run(*question)
        ran.append("the reference" if found is None else found.__name__)
        return found

    monkeypatch.setattr("atlas_ref.memory.chunked.kernel_run", seen)
    run_with_gradients(kernels.TritonPort(), Op.MEMORY_CHUNKED, Numerics.F32, inputs, {}, **config)
    assert ran == ["run_linear_kernels"]


@pytest.mark.parametrize("changes", [{"window": 129, "chunk": 2}, {"rule": "atlas"}], ids=str)
def test_what_kernels_do_not_know_is_unsupported_and_not_answered_by_the_reference(changes: dict[str, Any]) -> None:
    config, inputs = call({**PLAIN, **changes}, seed=2)
    if config["rule"] == "atlas":
        # More values than features: the Gram matrix would be that of the columns.
        inputs["keys"], inputs["queries"] = inputs["keys"][..., :3], inputs["queries"][..., :3]
        inputs["window_keys"] = inputs["window_keys"][..., :3]
        for name in ("initial", "weights", "momentum", "anchor"):
            inputs[name] = inputs[name][..., :12]
    tensors = {name: torch.tensor(value) for name, value in inputs.items()}
    with pytest.raises(UnsupportedError, match="the kernels have no form of this memory"):
        kernels.TritonPort().functions[Op.MEMORY_CHUNKED](config, tensors)


def test_kernels_that_cannot_run_are_refused_and_auto_runs_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    cpu = torch.device("cpu")
    assert (choice.chosen("auto", cpu), choice.chosen("reference", cpu)) == ("reference", "reference")
    with pytest.raises(UserError, match=r"model.kernels is 'triton'.*'cpu'; valid here are 'auto' and 'reference'"):
        choice.chosen("triton", cpu)


def test_the_field_reaches_the_memory_of_every_layer_of_every_block() -> None:
    for block in ("mag", "mac", "mal", "lmm"):
        config = load_config("tiny", [f"model.block='{block}'", "model.kernels='reference'", "model.n_layers=2"])
        layers = [module for module in build_model(config.model, 0).modules() if isinstance(module, MemoryLayer)]
        assert [layer.fast.kernels for layer in layers] == ["reference"] * 2


@pytest.mark.parametrize("precision", ["f32", pytest.param("bf16", marks=pytest.mark.exhaustive)])
def test_a_layer_by_kernels_is_the_layer_of_the_reference_and_learns_the_same(precision: str) -> None:
    """Kills: features that the front makes and the memory makes again; a coefficient without its gradient."""
    memory = ("rule=omega", "key_dim=6", "value_dim=4", "chunk=4", "omega_window=2", "features.degree=1")
    sizes = ("model.d_model=8", "model.n_heads=2")
    config = load_config("tiny", [*sizes, *(f"model.memory.{field}" for field in memory)]).model.memory
    hidden, asked = torch.randn(2, 2, 7, 8, generator=torch.Generator().manual_seed(0)).to(kernels.DEVICE)
    found = []
    for form in ("reference", "triton"):
        layer = MemoryLayer(8, 2, config, True, form)
        layer.initialise(torch.Generator().manual_seed(1), 0.5)
        # Keys of length one would stand where the curvature begins to divide.
        torch.nn.init.constant_(layer.feature_coefficients, 1.0)
        layer = layer.to(kernels.DEVICE)
        state = layer.initial_state(2)
        timeline = make_timeline(config, state.context, state.memory.position, None, 7)
        with torch.autocast(kernels.DEVICE.type, torch.bfloat16, enabled=precision == "bf16"):
            output = layer(hidden, state, timeline)
        torch.autograd.backward((output.reads.float() * asked).sum())
        assert output.omega_loss is not None
        parts = [output.reads, *output.state.to_tensors().values(), output.omega_loss]
        found.append(
            [part.detach().float() for part in [*parts, *(p.grad for p in layer.parameters() if p.grad is not None)]]
        )
    for ours, reference in zip(*found, strict=True):
        size = float(reference.abs().max())
        assert float((ours - reference).abs().max()) <= (ROUNDING if precision == "f32" else 0.03) * size
