"""The kernels for a CPU against the recurrence and the numpy loop, in float64; skipped where no compiler is."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch

from atlas_ref.compiling import NoCompilerError
from atlas_ref.config import load_config
from atlas_ref.errors import UserError
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.kernels import choice, cpu_library
from atlas_ref.memory.kernels.call import Widths
from atlas_ref.models.registry import build_model
from spec_tests.chapters.memory_chunked.grid import EQUAL, call, cotangents, gradients
from spec_tests.chapters.memory_step.calls import expected, worst
from spec_tests.contract.driver import run_with_gradients
from spec_tests.package.memory.ttl_loop import Schedule, make_call, outcome, scheduled_case, worst_error
from spec_tests.package.memory.ttl_loop import gradients as schedule_gradients
from spec_tests.port import Numerics, Op, UnsupportedError
from spec_tests.ports.front_by_loops import check_front
from spec_tests.ports.kernels import CpuMlpPort, CpuPort, build_for_cpu
from spec_tests.ports.reference import ReferencePort
from spec_tests.ports.reference.memory import memory

PLAIN: Final[dict[str, Any]] = {
    "rule": "omega",
    "architecture": "matrix",
    "time": 11,
    "chunk": 4,
    "window": 3,
    "basis": "monomial",
    "boundary": "carry",
    "read": "post",
    "loss_scale": 0.5,
    "step_scale": "mass",
}
OTHER: Final[dict[str, Any]] = {"boundary": "truncate", "read": "pre", "step_scale": "literal", "loss_scale": 1.0}


@pytest.fixture(scope="module")
def built() -> Path:
    try:
        return build_for_cpu()
    except NoCompilerError as error:
        pytest.skip(str(error))


@pytest.fixture
def library(built: Path) -> Iterator[Path]:
    with cpu_library.using(built):
        yield built


def asked_of(changes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return configuration and inputs of three rows out of step, with resets anywhere, fewer where the seed is odd."""
    return call({**PLAIN, **changes}, changes.get("seed", 0))


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rule": "titans", **OTHER},
        {"rule": "delta", "window": 1},
        {"time": 1},
        {"window": 8, "chunk": 2},
        {"rule": "atlas"},
        {"rule": "atlas_appendix", **OTHER},
        {"rule": "atlas", "basis": "elementwise"},
        {"architecture": "mlp"},
        {"architecture": "mlp", "rule": "titans", **OTHER},
        {"time": 75, "chunk": "T", "seed": 1},
        {"time": 75, "chunk": "T", "seed": 1, "architecture": "mlp"},
    ],
    ids=[
        "omega",
        "printed",
        "delta",
        "one-token",
        "a-window-of-several-chunks",
        "atlas",
        "appendix",
        "tall",
        "mlp",
        "mlp-printed",
        "a-segment-longer-than-a-part-of-a-product",
        "mlp-long",
    ],
)
def test_kernels_are_the_recurrence_in_outputs_states_and_gradients(changes: dict[str, Any]) -> None:
    """Kills: a window, an anchor or a reset of the neighbour row; an adjoint without a way back; a slot left out."""
    config, inputs = asked_of(changes)
    asked = cotangents(inputs, seed=0)
    port = CpuMlpPort() if config["architecture"] == "mlp" else CpuPort()
    found = run_with_gradients(port, Op.MEMORY_CHUNKED, Numerics.F64, inputs, asked, **config)
    wanted = run_with_gradients(ReferencePort(), Op.MEMORY_SCAN, Numerics.F64, inputs, asked, **config)
    assert worst(found.outputs, expected(config, inputs)) < EQUAL
    assert worst(found.outputs, gradients(wanted)) < EQUAL


def outputs_and_gradients(kernels: choice.Kernels, changes: dict[str, Any], **more: Any) -> dict[str, torch.Tensor]:
    """Return what a form of the memory gives, and the gradients of a sum of all of it, weighted at random."""
    config, inputs = asked_of(changes)
    given = {name: torch.tensor(value) for name, value in (inputs | more.pop("inputs", {})).items()}
    leaves = {name: x.requires_grad_() for name, x in given.items() if x.is_floating_point()}
    found = memory(partial(memory_chunked, kernels=kernels), config | more, given)
    outputs = {name: x for name, x in found.items() if x.requires_grad}
    weights = [torch.tensor(cotangents(inputs, seed=1)[name]) for name in outputs]
    grads = torch.autograd.grad(list(outputs.values()), list(leaves.values()), weights, materialize_grads=True)
    return outputs | {f"grad.{name}": grad for name, grad in zip(leaves, grads, strict=True)}


def assert_equal(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    for name, tensor in wanted.items():
        assert torch.allclose(found[name], tensor, rtol=0.0, atol=EQUAL), name


@pytest.mark.usefixtures("library")
def test_reads_at_the_anchor_are_those_of_the_reference() -> None:
    """Kills: a read of the memory before or after; an anchor without the gradient of its reads."""
    forms: list[choice.Kernels] = ["cpu", "reference"]
    assert_equal(*(outputs_and_gradients(form, {}, read="anchor") for form in forms))


@pytest.mark.usefixtures("library")
def test_what_a_row_may_not_see_counts_for_nothing_whatever_it_holds() -> None:
    """Kills: a weight of zero in the place of a selection; padding that another row has filled."""
    config, inputs = asked_of(OTHER)
    hidden = np.arange(1, 3)[::-1] > (inputs["position"] % config["chunk"])[:, None]
    # A row that begins a chunk sees nothing of the window before it.
    window = {name: inputs[name].copy() for name in ("window_keys", "window_values")}
    for held in window.values():
        held[hidden] = np.nan
    assert hidden.any()
    found = outputs_and_gradients("cpu", OTHER, inputs=window)
    wanted = outputs_and_gradients("cpu", OTHER)
    names = [name for name in wanted if not name.startswith("window_")]
    assert_equal({name: found[name] for name in names}, {name: wanted[name] for name in names})


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("name", ["titans", "atlas"])
def test_gathered_losses_and_tokens_that_write_nothing_are_those_of_the_recurrence(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a token that does not write told by its gates; a write too many in a segment; a warm-up that writes."""
    schedule = Schedule(every=3)
    one = make_call(*scheduled_case(name, "matrix", schedule, step_scale="mass"), schedule)
    wanted = outcome(one, (9,), chunked=False, silent=4)
    asked = schedule_gradients(one, wanted, seed=2)
    monkeypatch.setattr("spec_tests.package.memory.ttl_loop.memory_chunked", partial(memory_chunked, kernels="cpu"))
    found = outcome(one, (9,), chunked=True, silent=4)
    assert worst_error(found, wanted)[0] < EQUAL
    assert worst_error(schedule_gradients(one, found, seed=2), asked)[0] < EQUAL


@pytest.mark.usefixtures("library")
def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a sum over rows or heads in the order in which threads end."""
    one = outputs_and_gradients("cpu", {})
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    assert all(torch.equal(x, one[name]) for name, x in outputs_and_gradients("cpu", {}).items())


def test_the_front_is_convolution_silu_and_norm_of_what_a_token_may_see_with_its_gradients(built: Path) -> None:
    """Kills: a filter that reaches into another context, which is NaN here, or beyond the call or a block of tokens."""
    from atlas_ref.memory.kernels import cpu_front

    with cpu_library.using(built):
        loaded = cpu_library.library()
    assert loaded is not None
    front, cpu = partial(cpu_front.front, loaded), torch.device("cpu")
    check_front(front, torch.float64, cpu, 1e-13, slope=1e-7)
    long = np.stack([np.arange(131), 1 + np.arange(131) % 129])
    check_front(front, torch.float64, cpu, 1e-13, slope=1e-7, position=long)
    check_front(front, torch.float32, cpu, 1e-6, slope=1e-5)


def test_the_exponential_of_single_precision_is_exact_to_rounding(built: Path) -> None:
    """A row whose filter is one token: SiLU and norm of two numbers, over the whole range of the exponential.

    Kills: a series cut too early; a power of two that wraps where e^x leaves the numbers.
    """
    from atlas_ref.memory.kernels import cpu_front

    with cpu_library.using(built):
        loaded = cpu_library.library()
    assert loaded is not None
    x = torch.linspace(-120.0, 120.0, 961)
    rows = torch.stack([x, torch.full_like(x, 0.5), x, x], -1).unsqueeze(0)
    given = (rows, torch.ones(4, 1), torch.zeros(1, 0, 4), torch.arange(961).unsqueeze(0))
    queries = cpu_front.front(loaded, *given, None, Widths(1, 2, 0, 1e-6), torch.float32)[0]
    exact = torch.nn.functional.silu(rows[0, :, :2].double())
    wanted = exact / exact.norm(dim=-1, keepdim=True)
    assert (queries[0, :, 0] - wanted).abs().max() < 3e-7


@pytest.mark.usefixtures("library")
def test_a_model_by_kernels_is_the_model_by_the_reference_and_a_token_at_a_time_too() -> None:
    """Kills: a front or a memory that is given another's argument; a state that only one form can go on from."""
    found = []
    for kernels in ("auto", "cpu", "reference"):
        config = load_config("tiny", [f"model.kernels='{kernels}'", "model.n_layers=1", "model.memory.omega_window=3"])
        model = build_model(config.model, 0).double()
        tokens = torch.arange(100).view(2, 50) % 7
        before = model(tokens[:, :49], model.initial_state(2), None)
        after = model(tokens[:, 49:], before.state, None)
        logits = torch.cat([before.logits, after.logits], 1)
        torch.autograd.backward(logits.square().mean())
        found.append((logits.detach(), [x.grad for x in model.parameters() if x.grad is not None]))
    (auto, auto_grads), (cpu, cpu_grads), (wanted, grads) = found
    assert torch.equal(auto, cpu)
    assert all(torch.equal(a, b) for a, b in zip(auto_grads, cpu_grads, strict=True))
    assert torch.allclose(cpu, wanted, rtol=0.0, atol=1e-11)
    assert not torch.equal(cpu, wanted), "the reference ran"
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(cpu_grads, grads, strict=True))


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("architecture", ["matrix", "mlp"])
def test_single_precision_is_double_precision_to_its_rounding(architecture: str) -> None:
    """Heads of 32 features: whole registers and blocks of them, which no case of few features fills.

    Kills: a block that is transposed to the place of another; a tile that takes another's row.
    """
    asked = ["model.kernels='cpu'", "model.n_layers=1", f"model.memory.architecture='{architecture}'"]
    tokens, found = torch.arange(100).view(2, 50) % 7, []
    for dtype in (torch.float32, torch.float64):
        model = build_model(load_config("tiny", asked).model, 0).to(dtype)
        logits = model(tokens, model.initial_state(2), None).logits
        torch.autograd.backward(logits.square().mean())
        grads = {name: x.grad for name, x in model.named_parameters() if x.grad is not None}
        # Terms that cancel leave one number: single precision has none of its digits in any form.
        assert grads.pop("layers.0.mag.memory.feature_coefficients").numel() == 1
        found.append([logits.detach(), *grads.values()])
    for single, double in zip(*found, strict=True):
        assert (single - double).abs().max() < 1e-3 * double.abs().max()


@pytest.mark.usefixtures("built")
def test_the_port_of_the_kernels_answers_by_kernels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[bool] = []
    run = choice.kernel_run

    def seen(*question: Any) -> Any:
        found = run(*question)
        ran.append(found is not None)
        return found

    monkeypatch.setattr("atlas_ref.memory.chunked.kernel_run", seen)
    config, inputs = asked_of({})
    run_with_gradients(CpuPort(), Op.MEMORY_CHUNKED, Numerics.F32, inputs, {}, **config)
    assert ran == [True]


@pytest.mark.usefixtures("built")
def test_what_kernels_do_not_know_is_unsupported_and_not_answered_by_the_reference() -> None:
    config, inputs = asked_of({"rule": "atlas", "architecture": "mlp"})
    tensors = {name: torch.tensor(value) for name, value in inputs.items()}
    with pytest.raises(UnsupportedError, match="the kernels have no form of this memory"):
        CpuPort().functions[Op.MEMORY_CHUNKED](config, tensors)


def test_kernels_that_are_not_built_are_refused_and_never_built_by_themselves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ATLAS_KERNELS", str(tmp_path))
    cpu_library._built.cache_clear()
    cpu = torch.device("cpu")
    try:
        assert choice.chosen("auto", cpu) == "reference"
        with pytest.raises(UserError, match=r"model.kernels is 'cpu'.*not built.*`atlas kernels build`"):
            choice.chosen("cpu", cpu)
        with pytest.raises(UserError, match=r"model.kernels is 'cpu' and the device 'meta'"):
            choice.chosen("cpu", torch.device("meta"))
    finally:
        cpu_library._built.cache_clear()
    assert list(tmp_path.iterdir()) == []
