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
from spec_tests.chapters.newton_schulz.oracle import iteration
from spec_tests.contract.driver import assert_close, run, run_with_gradients
from spec_tests.port import Numerics, Op, UnsupportedError
from spec_tests.ports.front_by_loops import check_front
from spec_tests.ports.reference import ReferencePort

# The port first: it asks for the interpreter, which Triton reads where it is imported.
kernels = pytest.importorskip("spec_tests.ports.kernels")
kernel_iteration = pytest.importorskip("spec_tests.ports.kernel_iteration")
pytest.importorskip("triton", reason="the kernels need the package triton: pip install 'atlas-spec[triton]'")
InterpreterBuilder: Final = pytest.importorskip("triton.runtime.interpreter").InterpreterBuilder

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
    ("changes", "rows"),
    [
        ({"reset": (1, 2)}, [0, 1]),
        (
            {
                "rule": "titans",
                "read": "pre",
                "boundary": "truncate",
                "step_scale": "literal",
                "loss_scale": 1.0,
            },
            [1],
        ),
        ({"rule": "atlas", "read": "pre", "reset": (0, 3)}, [0, 1]),
        pytest.param({"window": 6, "chunk": 2, "time": 7, "reset": (0, 4)}, [0, 1], marks=pytest.mark.exhaustive),
    ],
    ids=[
        "a-reset-and-rows-out-of-step",
        "titans-read-before",
        "newton-schulz",
        "a-window-of-several-segments",
    ],
)
def test_kernels_are_the_recurrence_in_outputs_states_and_gradients(changes: dict[str, Any], rows: list[int]) -> None:
    """In two chunks, the second cut short; row 0 begins at the call, row 1 is inside a document.

    The interpreter takes half a second a token of a head, so rows beside one another are asked of one linear rule.
    """
    cell = {**PLAIN, **changes}
    config, inputs = call(cell, seed=0)
    inputs = {name: value if name == "initial" else value[rows] for name, value in inputs.items()}
    if "reset" in cell:
        inputs["reset"][cell["reset"]] = 1
    asked = cotangents(inputs, seed=0)
    found = run_with_gradients(kernels.TritonKernels(), Op.MEMORY_CHUNKED, Numerics.F32, inputs, asked, **config)
    wanted = run_with_gradients(ReferencePort(), Op.MEMORY_SCAN, Numerics.F64, inputs, asked, **config)
    assert worst(found.outputs, expected(config, inputs)) < ROUNDING
    assert worst(found.outputs, gradients(wanted)) < ROUNDING


def test_the_front_is_convolution_silu_and_norm_of_what_a_token_may_see_with_its_gradients() -> None:
    """Kills: a filter that reaches into another context, which is NaN here, or beyond the call; a sum over channels."""
    from atlas_ref.memory.kernels.front import front

    check_front(front, torch.float32, kernels.DEVICE, ROUNDING, slope=1e-5)


def test_the_port_of_the_kernels_answers_by_kernels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    config, inputs = call({**PLAIN, "time": 2}, seed=1)
    ran: list[str] = []
    run = choice.kernel_run

    def seen(*question: Any) -> Any:
        found = run(*question)
        ran.append("the reference" if found is None else found.__name__)
        return found

    monkeypatch.setattr("atlas_ref.memory.chunked.kernel_run", seen)
    run_with_gradients(kernels.TritonKernels(), Op.MEMORY_CHUNKED, Numerics.F32, inputs, {}, **config)
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
        kernels.TritonKernels().functions[Op.MEMORY_CHUNKED](config, tensors)


def test_kernels_that_cannot_run_are_refused_and_auto_runs_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(choice, "library", lambda: None)
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
    hidden, asked = torch.randn(2, 2, 6, 8, generator=torch.Generator().manual_seed(0)).to(kernels.DEVICE)
    found = []
    for form in ("reference", "triton"):
        layer = MemoryLayer(8, 2, config, True, form)
        layer.initialise(torch.Generator().manual_seed(1), 0.5)
        # Keys of length one would stand where the curvature begins to divide.
        torch.nn.init.constant_(layer.feature_coefficients, 1.0)
        layer = layer.to(kernels.DEVICE)
        state = layer.initial_state(2)
        timeline = make_timeline(config, state.context, state.memory.position, None, 6)
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


@pytest.mark.parametrize("read", ["post", "pre", "anchor"])
def test_every_factor_of_a_product_of_a_linear_memory_is_a_number_of_tf32_where_that_is_asked_for(
    read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a factor that is taken for rounded where it was read and is not: the chip would cut its bits off."""
    if not choice.interprets():
        pytest.skip("a card does not show what it multiplies")
    config, inputs = call({**PLAIN, "read": read}, seed=3)
    inputs = {name: value if name == "initial" else value[:1] for name, value in inputs.items()}
    bits: list[int] = []
    multiply = InterpreterBuilder.create_dot

    def seen(builder: Any, a: Any, b: Any, *rest: Any) -> Any:
        bits.extend(int(np.bitwise_or.reduce(x.data.astype(np.float32).view(np.uint32), axis=None)) for x in (a, b))
        return multiply(builder, a, b, *rest)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", seen)
    torch.set_float32_matmul_precision("high")
    try:
        asked = cotangents(inputs, seed=3)
        run_with_gradients(kernels.TritonKernels(), Op.MEMORY_CHUNKED, Numerics.F32, inputs, asked, **config)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert bits
    assert all(each & 0x1FFF == 0 for each in bits)


def test_more_values_than_features_are_the_recurrence_with_features_of_zeros_that_nobody_sees() -> None:
    """Kills: zeros between the rows of a packed matrix; a state that is returned as wide as it was asked."""
    config, inputs = call({**PLAIN, "rule": "atlas", "time": 2, "window": 1}, seed=0)
    config["newton_schulz_steps"] = 1
    inputs = {name: value if name == "initial" else value[:1] for name, value in inputs.items()}
    vectors, matrices = ("keys", "queries", "window_keys"), ("initial", "weights", "momentum", "anchor")
    inputs |= {name: inputs[name][..., :3] for name in vectors} | {name: inputs[name][..., :12] for name in matrices}
    port = kernels.TritonOrthogonalPort()
    found = run_with_gradients(port, Op.MEMORY_CHUNKED, Numerics.F32, inputs, {}, **config)
    assert worst(found.outputs, expected(config, inputs)) < ROUNDING


@pytest.mark.parametrize("numerics", [Numerics.F32, Numerics.TF32])
def test_the_iteration_by_kernels_is_that_of_the_loop_however_tall_a_matrix_is(numerics: Numerics) -> None:
    """Kills: the momentum of a token that writes; a transpose that is not turned back; coarser products."""
    port = kernel_iteration.TritonIterationPort()
    generator = np.random.Generator(np.random.Philox(key=3))
    for shape in ((2, 3), (3, 2)):
        matrix = generator.standard_normal((2, *shape)).astype(np.float32)
        found = run(port, Op.NEWTON_SCHULZ, numerics, {"matrix": matrix}, steps=2, coefficients="quintic", start="add")
        budget = 3e-6 if numerics is Numerics.F32 else 6e-3
        for i, each in enumerate(matrix.astype(float)):
            assert_close(found["orthogonal"][i], iteration(each, "quintic", 2), budget, f"{shape}")
