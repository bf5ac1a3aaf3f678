"""Reads at the anchor: the memory as it was at the start of the token's chunk, in every form and run."""

from typing import Any

import numpy as np
import pytest
import torch

from atlas_ref.memory.link import Link
from spec_tests.package.memory.hierarchy_calls import FORMS, Call, call_of, drawn, gradients, hierarchy, tensors_of

RUNS: dict[str, dict[str, Any]] = {
    "linear": {"name": "titans", "step_scale": "mass"},
    "linear, mlp": {"name": "omega", "architecture": "mlp"},
    "orthogonalised": {"name": "atlas"},
    "formed under a link": {"name": "titans", "link": Link("softmax", scale=2.0)},
    "solved on a schedule": {"name": "delta", "chunk": 1, "error_at": "retained"},
}


def called(changes: dict[str, Any]) -> Call:
    """Return a call of one memory that reads at its anchor."""
    rule = dict(changes)
    window = 1 if rule["name"] == "delta" else 2
    return call_of(hierarchy([rule.pop("chunk", 4)], [0], **rule), drawn(1, 19, window=window, seed=3, hidden=5))


@pytest.mark.parametrize("name", RUNS)
def test_every_run_of_the_parallel_form_reads_as_the_loop_does(name: str) -> None:
    call = called(RUNS[name])
    one, other = (call.run(form) for form in FORMS.values())
    for wanted, found in ((tensors_of(one), tensors_of(other)), (gradients(call, one), gradients(call, other))):
        for key, tensor in wanted.items():
            assert torch.allclose(tensor, found[key], rtol=0.0, atol=1e-10), key


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [name for name in RUNS if "mlp" not in name])
def test_a_token_reads_the_anchor_that_its_state_holds(form: str, name: str) -> None:
    """Token by token, against the product of that anchor in numpy. Kills: reads of the memory, before or after."""
    call = called(RUNS[name])
    state = call.state
    for t in range(19):
        found = call.run(FORMS[form], state, slice(t, t + 1))
        state = found.state
        anchor = state.memories[0].anchor[0].detach().numpy()
        if "link" in RUNS[name]:
            anchor = 2.0 * np.exp(anchor) / np.exp(anchor).sum(-1, keepdims=True)
        read = np.einsum("bhij,bhj->bhi", anchor, call.leaves["queries"][:, t].detach().numpy())
        assert np.abs(found.reads[:, 0].detach().numpy() - read).max() <= 1e-13
