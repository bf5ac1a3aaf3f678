"""Triton's kernels for single tokens, interpreted where there is no GPU, against the reference in float64."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from atlas_ref.functional.dropout import Drop, dropped, row_keys
from atlas_ref.functional.gate_floor import collapse_risk
from atlas_ref.functional.mag_gate import GateKind, mag_gate
from atlas_ref.functional.telemetry import gate_statistics

# The port first: it asks for the interpreter, which Triton reads where it is imported.
DEVICE = pytest.importorskip("spec_tests.ports.kernels").DEVICE
pytest.importorskip("triton", reason="the kernels need the package triton: pip install 'atlas-spec[triton]'")

ROUNDING: Final = 1e-6
BATCH, TIME, DIM = 2, 7, 12


@pytest.fixture(scope="module")
def rows() -> ModuleType:
    from atlas_ref.blocks.kernels import rows

    return rows


def drawn(seed: int, *shape: int) -> Tensor:
    x = torch.randn(*(shape or (BATCH, TIME, DIM)), generator=torch.Generator().manual_seed(seed))
    return x.to(DEVICE).requires_grad_()


def drop() -> Drop:
    return Drop(0.3, row_keys(0, 3, slice(0, BATCH), BATCH).to(DEVICE), 4)


def check(found: Sequence[Tensor], wanted: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
    """Compare outputs, and the gradients of a sum of them, in what was given."""
    weights = [torch.randn(x.shape, generator=torch.Generator().manual_seed(n)).to(DEVICE) for n, x in enumerate(found)]
    for outputs in (found, wanted):
        assert all(x.requires_grad for x in outputs)
    slopes = [
        torch.autograd.grad(outputs, inputs, [w.to(outputs[0].dtype) for w in weights]) for outputs in (found, wanted)
    ]
    for ours, theirs in zip([*found, *slopes[0]], [*wanted, *slopes[1]], strict=True):
        assert (ours - theirs).abs().max() <= ROUNDING * theirs.abs().max()


def normed(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x.double(), (DIM,), weight.double(), 1e-2)


@pytest.mark.parametrize("uses", [1, 3, 4])
@pytest.mark.parametrize("goes_on", [True, False])
def test_the_norm_has_the_gradients_of_all_that_read_it(rows: ModuleType, uses: int, goes_on: bool) -> None:
    """Kills: a fourth use, or what goes on with x, that is left out; the gradient of x as a factor of the norm."""
    x, weight = drawn(0), drawn(1, DIM)
    found = rows.normed(x, rows.Norm(weight, 1e-2), uses, torch.float32)
    wanted = (x.double(), *(normed(x, weight),) * uses)
    check(found if goes_on else found[1:], wanted if goes_on else wanted[1:], (x, weight))


def test_what_reads_no_norm_learns_through_no_norm(rows: ModuleType) -> None:
    x = drawn(0)
    on, _ = rows.normed(x, rows.Norm(drawn(1, DIM), 1e-2), 1, torch.float32)
    (slope,) = torch.autograd.grad(on.square().sum(), x)
    assert torch.equal(slope, 2.0 * x)


def test_dropout_leaves_what_the_reference_leaves_and_adds_it(rows: ModuleType) -> None:
    x, y = drawn(2), drawn(3)
    check([rows.dropped(x, drop(), None)], [dropped(x, drop()).double()], [x])
    check([rows.dropped(x, drop(), y)], [(y + dropped(x, drop())).double()], [x, y])


def test_swiglu_is_a_gate_and_a_value_side_by_side(rows: ModuleType) -> None:
    up = drawn(4, BATCH, TIME, 2 * DIM)
    gate, value = up.double().chunk(2, -1)
    check([rows.swiglu(up)], [F.silu(gate) * value], [up])


@pytest.mark.parametrize("kind", ["source", "gated_attention", "convex_memory", "convex"])
def test_the_join_is_both_norms_dropout_and_the_gate(rows: ModuleType, kind: GateKind) -> None:
    """Kills: a gate of another half, a floor of another token, what is left out counted in the gate's gradient."""
    attended, reads, logits, one, other = drawn(5), drawn(6), drawn(7), drawn(8, DIM), drawn(9, DIM)
    given = logits if kind.startswith("convex") else None
    for floor, left_out in ((0.2, None), (torch.rand(BATCH, TIME, 1, device=DEVICE), drop())):
        norms = rows.Norm(one, 1e-2), rows.Norm(other, 1e-2)
        found, raw = rows.joined(attended, reads, given, norms, rows.Floored(kind, floor, left_out))
        memory = dropped(normed(reads, other), left_out)
        wanted = mag_gate(kind, normed(attended, one), memory, None if given is None else given.double(), floor)
        inputs = [attended, reads, one, other, *([] if given is None else [given])]
        check([found], [wanted.joined], inputs)
        assert wanted.raw is not None
        assert not raw.requires_grad
        assert (raw - wanted.raw).abs().max() < ROUNDING


@pytest.mark.parametrize("tiles", [2, 1024])
def test_statistics_of_gates_are_those_of_the_reference_where_gates_hardly_differ(
    rows: ModuleType, monkeypatch: pytest.MonkeyPatch, tiles: int
) -> None:
    """Kills: the last tile taken for a full one; what tiles differ by not counted; tiles behind the first left out."""
    monkeypatch.setattr(rows, "PARTS", tiles)
    drawn_apart = torch.rand(3, 401, 5, generator=torch.Generator().manual_seed(0)) + torch.arange(3).view(3, 1, 1)
    raw = (0.94 + 0.003 * drawn_apart).to(DEVICE)
    for floor in (0.895, torch.full((3, 401, 1), 0.8, device=DEVICE)):
        found, risk = rows.spread(raw, floor)
        for ours, theirs in zip(found, gate_statistics(raw.double(), floor), strict=True):
            torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(risk, collapse_risk(raw, floor), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("shape", [(1, 700, 5), (3, 20, 33), (2, 257, 16), (2, 3, 0)])
def test_sums_of_rows_are_those_of_each_stack(shape: tuple[int, int, int]) -> None:
    """Kills: rows behind the first tile; columns of the tile that are none; the rows of another stack."""
    from atlas_ref.memory.kernels.sums import summed

    parts = drawn(11, *shape).detach()
    torch.testing.assert_close(summed(parts).double(), parts.double().sum(1), rtol=1e-5, atol=1e-5)


def test_means_of_the_gates_of_a_memory_are_those_of_each(rows: ModuleType) -> None:
    """Kills: heads or ages that lie elsewhere; tokens behind the last of a tile; one count for all gates."""
    made = torch.rand(3, 401, 35, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    retention, momentum, step, window = torch.split(made, [5, 5, 5, 20], -1)
    gates = retention, momentum * 3.0, step + 1.0, torch.unflatten(window, -1, (4, 5)).mT
    for ours, gate in zip(rows.means(*gates), gates, strict=True):
        torch.testing.assert_close(ours.double(), gate.double().mean(), rtol=3e-6, atol=0.0)


def apart() -> AbstractContextManager[None]:
    """Refuse a number of the host that becomes a tensor: a recorded step has no host."""

    def dispatch(self: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call it, unless it is one."""
        del self, types
        assert func is not torch.ops.aten.lift_fresh.default
        return func(*args, **(kwargs or {}))

    mode: AbstractContextManager[None] = type("_Apart", (TorchDispatchMode,), {"__torch_dispatch__": dispatch})()
    return mode


def test_statistics_of_gates_take_no_number_from_the_host(rows: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {(1,): lambda *_: None}
    monkeypatch.setattr(rows, "spread_kernels", SimpleNamespace(spread=nothing, whole=nothing))
    with apart():
        rows.spread(torch.rand(1, 7, 3, device=DEVICE), 0.2)


def test_a_gate_that_is_nan_is_told(rows: ModuleType) -> None:
    raw = torch.full((1, 2, 3), 0.5, device=DEVICE)
    raw[0, 1, 1] = torch.nan
    assert all(value.isnan() for value in rows.spread(raw, 0.0)[0][:8])
