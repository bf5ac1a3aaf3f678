"""Ridge regression over the document (MesaNet) against numpy loops, complex steps and its optimality."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.memory.ridge import fresh_ridge_state, ridge_scan
from spec_tests.drawing.inputs import generator
from spec_tests.package.memory.miras_calls import STEP, TIGHT, gap
from spec_tests.port import Array

BATCH, TIME, HEADS, FEATURES, VALUES = 2, 37, 2, 4, 3
"""More than one segment of 32 tokens."""
TOKENS = ("keys", "values", "queries", "retention", "step")


def draw(seed: int = 1, time: int = TIME) -> dict[str, Array]:
    rng = generator(seed)
    token = (BATCH, time, HEADS)
    return {
        "keys": rng.standard_normal((*token, FEATURES)),
        "values": rng.standard_normal((*token, VALUES)),
        "queries": rng.standard_normal((*token, FEATURES)),
        "retention": rng.uniform(0.5, 1.0, token),
        "step": rng.uniform(0.0, 1.0, token),
        "ridge": rng.uniform(0.25, 2.0, (HEADS, FEATURES)),
    }


def marks(*places: int, time: int = TIME) -> Array:
    reset = np.zeros((BATCH, time), bool)
    reset[0, list(places)] = True
    return reset


def loop(x: dict[str, Array], reset: Array) -> dict[str, Array]:
    """Solve the regression of every token anew from all weighted pairs of its document; keys x values."""
    kind = np.result_type(*x.values())
    found = {
        "reads": np.zeros((*x["values"].shape,), kind),
        "cross": np.zeros((BATCH, HEADS, VALUES, FEATURES), kind),
        "gram": np.zeros((BATCH, HEADS, FEATURES, FEATURES), kind),
    }
    for b, h in np.ndindex(BATCH, HEADS):
        first = 0
        for t in range(x["keys"].shape[1]):
            first = t if reset[b, t] else first
            k, v = x["keys"][b, first : t + 1, h], x["values"][b, first : t + 1, h]
            kept = np.append(np.cumprod(x["retention"][b, first + 1 : t + 1, h][::-1])[::-1], 1.0)
            weighted = k * (x["step"][b, first : t + 1, h] * kept)[:, None]
            gram, cross = k.T @ weighted, v.T @ weighted
            memory = np.linalg.solve(gram.T + np.diag(x["ridge"][h]), cross.T)
            found["reads"][b, t, h] = x["queries"][b, t, h] @ memory
            found["cross"][b, h], found["gram"][b, h] = cross, gram
    return found


def scanned(x: dict[str, Tensor], reset: Array, cuts: tuple[int, ...] = ()) -> dict[str, Tensor]:
    state = fresh_ridge_state(BATCH, HEADS, FEATURES, VALUES, x["keys"].detach())
    reads = []
    for begin, end in pairwise([0, *cuts, x["keys"].shape[1]]):
        part: dict[str, Any] = {name: x[name][:, begin:end] for name in TOKENS}
        read, state = ridge_scan(**part, ridge=x["ridge"], reset=torch.tensor(reset[:, begin:end]), state=state)
        reads.append(read)
    return {"reads": torch.cat(reads, 1), "cross": state.cross, "gram": state.gram}


@pytest.mark.parametrize("cuts", [(), (1, 2, 20, 20)], ids=["whole", "cut"])
@pytest.mark.parametrize("places", [(), (3, 33, 36)], ids=["one document", "four documents"])
def test_the_scan_equals_regressions_solved_anew_in_every_output_and_gradient(
    places: tuple[int, ...], cuts: tuple[int, ...]
) -> None:
    """Kills: a ridge that decays; a decay that reaches the own pair; a document that sees another; a lost segment."""
    x, reset = draw(), marks(*places)
    leaves = {name: torch.tensor(value).requires_grad_() for name, value in x.items()}
    found, wanted = scanned(leaves, reset, cuts), loop(x, reset)
    for name, value in wanted.items():
        assert gap(found[name].detach().numpy(), value) < TIGHT, name
    rng = generator(9)
    asked = {name: rng.standard_normal(value.shape) for name, value in wanted.items()}
    total = torch.stack([(found[name] * torch.tensor(c)).sum() for name, c in asked.items()]).sum()
    for (name, value), gradient in zip(x.items(), torch.autograd.grad(total, list(leaves.values())), strict=True):
        direction = rng.standard_normal(value.shape)
        moved = loop(x | {name: value + 1j * STEP * direction}, reset)
        along = sum((moved[n].imag * c).sum() for n, c in asked.items()) / STEP
        slopes = gradient.numpy() * direction
        assert abs(slopes.sum() - along) < TIGHT * max(np.abs(slopes).sum(), abs(along)), name


def test_the_memory_is_a_stationary_point_of_the_omega_loss_of_its_document() -> None:
    """Kills: a ridge on another matrix; weights that are not eta times what is retained."""
    x = draw(time=9)
    one, queries = x["keys"].shape[-1], np.eye(FEATURES)
    rows = []
    for j in range(one):
        asked = x | {"queries": np.broadcast_to(queries[j], x["keys"].shape).copy()}
        rows.append(scanned({n: torch.tensor(v) for n, v in asked.items()}, marks(time=9))["reads"][0, -1, 1].numpy())
    memory = np.stack(rows, -1)
    k, v = x["keys"][0, :, 1], x["values"][0, :, 1]
    weight = x["step"][0, :, 1] * np.append(np.cumprod(x["retention"][0, 1:, 1][::-1])[::-1], 1.0)
    slope = np.einsum("tv,td,t->vd", k @ memory.T - v, k, weight) + memory * x["ridge"][1]
    assert np.abs(slope).max() < 1e-12 * np.abs(memory).max() * weight.sum()


def test_rows_do_not_mix_and_nothing_later_leaks() -> None:
    x = draw()
    changed = {name: value.copy() for name, value in x.items()}
    for name in TOKENS:
        changed[name][1] *= 0.5
        changed[name][0, 20:] *= 0.5
    one, other = (scanned({n: torch.tensor(v) for n, v in y.items()}, marks())["reads"] for y in (x, changed))
    assert torch.equal(one[0, :20], other[0, :20])
    assert not torch.equal(one[0, 20:], other[0, 20:])


@pytest.mark.parametrize("feature", range(FEATURES))
def test_a_row_whose_regression_has_no_solution_reads_nan_and_the_others_what_they_read(feature: int) -> None:
    """Kills: a solution that is made up where the first feature already has none; a row that spoils its neighbours."""
    x: dict[str, Any] = {name: torch.tensor(value) for name, value in draw(time=2).items()}
    tokens, ridge = {name: x[name] for name in TOKENS}, x["ridge"]
    state = fresh_ridge_state(BATCH, HEADS, FEATURES, VALUES, ridge)
    state = replace(state, position=state.position + 7)
    sound, _ = ridge_scan(**tokens, ridge=ridge, reset=None, state=state)
    gram = state.gram.clone()
    gram[1, 0, feature, feature] = -1e3
    reads, _ = ridge_scan(**tokens, ridge=ridge, reset=None, state=replace(state, gram=gram))
    assert reads[1, :, 0].isnan().all()
    reads[1, :, 0] = sound[1, :, 0]
    torch.testing.assert_close(reads, sound)


def test_a_ridge_of_zero_is_refused() -> None:
    x = {name: torch.tensor(value) for name, value in draw().items()}
    with pytest.raises(UserError, match="the least of the ridge is 0, valid is above 0"):
        scanned(x | {"ridge": x["ridge"].clone().index_fill_(1, torch.tensor([2]), 0.0)}, marks())


def test_an_empty_call_leaves_the_state_as_it_is() -> None:
    x = {name: torch.tensor(value) for name, value in draw().items()}
    state = fresh_ridge_state(BATCH, HEADS, FEATURES, VALUES, x["keys"])
    empty: dict[str, Any] = {name: x[name][:, :0] for name in TOKENS}
    reads, after = ridge_scan(**empty, ridge=x["ridge"], reset=None, state=state)
    assert reads.shape == (BATCH, 0, HEADS, VALUES)
    assert after is state
