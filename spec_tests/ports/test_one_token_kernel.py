"""The kernel of one token, interpreted where there is no GPU, against the plain run of one token."""

from typing import Any

import pytest
import torch

from atlas_ref.functional.looking import unseen
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.kernels import choice
from atlas_ref.memory.kernels.call import Asked
from atlas_ref.memory.recurrent import MemoryOutput
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.segments import Start
from atlas_ref.memory.state import MemoryState, fresh_memory_state

# The port first: it asks for the interpreter, which Triton reads where it is imported.
DEVICE = pytest.importorskip("spec_tests.ports.kernels").DEVICE
pytest.importorskip("triton", reason="the kernels need the package triton: pip install 'atlas-spec[triton]'")

BATCH, HEADS, FEATURES, VALUES, WINDOW = 2, 2, 5, 3, 3
TOKENS = 6
CASES: dict[str, dict[str, Any]] = {
    "omega read after": {},
    "titans truncated read before": {"name": "titans", "boundary": "truncate", "read": "pre", "step_scale": "literal"},
    "omega read at the anchor": {"read": "anchor", "loss_scale": 1.0},
    "delta": {"name": "delta", "chunk": 1},
    "atlas truncated read before": {"name": "atlas", "newton_schulz_steps": 2, "boundary": "truncate", "read": "pre"},
    "atlas_appendix read at the anchor": {"name": "atlas_appendix", "coefficients": "cubic", "read": "anchor"},
    "atlas read after": {"name": "atlas", "newton_schulz_steps": 2, "step_scale": "literal"},
}
SELDOM = {"atlas_appendix read at the anchor", "omega read at the anchor"}


def rule_of(changes: dict[str, Any]) -> MemoryRule:
    plain = {
        "architecture": "matrix",
        "name": "omega",
        "chunk": 3,
        "boundary": "carry",
        "read": "post",
        "loss_scale": 0.5,
        "step_scale": "mass",
        "momentum_max": 0.9,
        "coefficients": "quintic",
        "newton_schulz_steps": 5,
    }
    return MemoryRule(**{**plain, **changes})


def text(rule: MemoryRule, kernels: choice.Kernels, state: MemoryState, initial: torch.Tensor) -> list[MemoryOutput]:
    """Return what each token gives, one a call; row 1 begins a document at the third."""
    random = torch.Generator().manual_seed(5)
    window = 1 if rule.name == "delta" else WINDOW
    found = []
    for token in range(TOKENS):
        keys, queries = torch.randn(2, BATCH, 1, HEADS, FEATURES, generator=random).to(DEVICE)
        values = torch.randn(BATCH, 1, HEADS, VALUES, generator=random).to(DEVICE)
        retention, momentum, step = torch.rand(3, BATCH, 1, HEADS, generator=random).to(DEVICE).unbind()
        gates = Gates(retention, momentum, step, torch.rand(BATCH, 1, HEADS, window, generator=random).to(DEVICE))
        reset = torch.tensor([[False], [token == 2]], device=DEVICE)
        with torch.no_grad(), unseen():
            output = memory_chunked(rule, keys, values, queries, gates, (initial,), state, reset, kernels=kernels)
        state = output.state
        found.append(output)
    return found


@pytest.mark.parametrize(
    "changes",
    [pytest.param(c, id=n.replace(" ", "-"), marks=[pytest.mark.exhaustive] * (n in SELDOM)) for n, c in CASES.items()],
)
def test_the_kernel_of_one_token_is_the_plain_run(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a window read from the wrong end; a pair of the document before; an anchor that never moves; a step not
    divided; M read before S is in it."""
    rule, runs = rule_of(changes), list[Any]()

    def noted(*given: Any) -> Any:
        runs.append(choice.kernel_run(*given))
        return runs[-1]

    monkeypatch.setattr("atlas_ref.memory.chunked.kernel_run", noted)
    initial = torch.randn(HEADS, VALUES, FEATURES, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    window = 1 if rule.name == "delta" else WINDOW
    fresh = fresh_memory_state((initial,), BATCH, window, FEATURES, VALUES)
    for one, other in zip(text(rule, "triton", fresh, initial), text(rule, "reference", fresh, initial), strict=True):
        torch.testing.assert_close(one.reads, other.reads, rtol=2e-5, atol=2e-5)
        torch.testing.assert_close(one.omega_loss, other.omega_loss, rtol=2e-5, atol=2e-5)
        torch.testing.assert_close(one.state.to_tensors(), other.state.to_tensors(), rtol=2e-5, atol=2e-5)
    run = "orthogonal_one_token" if rule.orthogonalised else "one_token"
    assert [each and each.args[0].__name__ for each in runs] == [run] * TOKENS + [None] * TOKENS


def test_a_gradient_and_what_a_kernel_does_not_know_go_the_plain_way() -> None:
    """Kills: a kernel without a derivative in a step of training."""
    keys = torch.randn(BATCH, 1, HEADS, FEATURES, device=DEVICE)
    given = (
        Asked(keys, keys[..., :VALUES], keys),
        1,
        WINDOW - 1,
        Start((torch.zeros(HEADS, VALUES, FEATURES),), None),
    )
    assert choice.kernel_run("triton", rule_of({}), *given) is None
    with torch.no_grad():
        assert choice.kernel_run("triton", rule_of({}), *given) is not None
        assert (
            choice.kernel_run("triton", rule_of({"name": "atlas", "coefficients": "polar_express_paper"}), *given)
            is None
        )
        assert choice.kernel_run("reference", rule_of({}), *given) is None
