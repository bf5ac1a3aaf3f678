"""The delta rule solved a schedule of tokens at a time equals the loop, whatever the schedule."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from atlas_ref.errors import UserError
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.recurrent import MemoryOutput, memory_recurrent
from atlas_ref.memory.shards import Shards
from spec_tests.drawing.inputs import generator
from spec_tests.package.memory.miras_axes import RETAINED, USUAL
from spec_tests.package.memory.miras_calls import BATCH, TIME, assert_equal, draw, errors, leaves_of, outcome, resets
from spec_tests.package.memory.miras_loop import Options
from spec_tests.port import Array
from spec_tests.sampling import crossed


@pytest.mark.parametrize(("name", "schedule"), crossed(RETAINED, (3, 1, 32)))
def test_a_schedule_is_no_part_of_the_meaning(name: str, schedule: int) -> None:
    """Kills: decays up to t where they end at t-1; a diagonal in the system; a step without its divisor; the momentum
    of another token; a document that begins inside a segment and sees the one before.
    """
    assert_equal(errors(memory_chunked, RETAINED[name], (4, 7), (6,), time=11, schedule=schedule))


@pytest.mark.parametrize("options", [USUAL, replace(USUAL, rule="delta", chunk=2, window=1)], ids=["omega", "chunks"])
def test_a_schedule_changes_nothing_where_the_chunk_has_a_meaning(options: Options) -> None:
    """Kills: any rule, or chunks of two tokens, solved as the delta rule is."""
    assert_equal(errors(memory_chunked, options, time=9, schedule=3))


def test_shards_cut_the_schedule_that_nobody_named() -> None:
    """Kills: a segment of the schedule that goes over the border of a shard, or that has no length."""
    o = RETAINED["kda"]
    inputs, initial = draw(o, time=11)
    given = (o, leaves_of(inputs, initial), resets(BATCH, 11, (7,)))
    shards = Shards(4, 1, torch.tensor(0.3, dtype=torch.float64))
    wanted = outcome(memory_recurrent, *given, shards=shards)
    for name, found in outcome(memory_chunked, *given, shards=shards).items():
        torch.testing.assert_close(found, wanted[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("step", [0.0, 0.3, 1e6])
def test_an_implicit_step_minimises_its_objective_whatever_its_size(step: float) -> None:
    """1/2 ||M - alpha M'||^2 / w + 1/2 ||M k - v||^2, which w = eta gamma multiplies here so that it may be 0.

    Kills: a denominator without the step; an error at the memory before retention.
    """
    o, rng = RETAINED["implicit columns"], generator(6)
    inputs, initial = draw(o, time=1)
    inputs["step_size"] = np.full_like(inputs["step_size"], step)
    found = outcome(memory_chunked, o, leaves_of(inputs, initial), resets(2, 1, ()))["weights.0"].detach().numpy()
    weight = step * inputs["window_weights"][0, 0, 1, 0] * 2.0 * o.loss_scale
    kept = initial[0][1] * np.exp(inputs["log_retention"][0, 0, 1])
    k, v = inputs["keys"][0, 0, 1], inputs["values"][0, 0, 1]

    def objective(memory: Array) -> float:
        return float(0.5 * ((memory - kept) ** 2).sum() + 0.5 * weight * ((memory @ k - v) ** 2).sum())

    least = objective(found[0, 1])
    moves = (10.0 ** rng.uniform(-3.0, 0.0) * rng.standard_normal(kept.shape) for _ in range(300))
    assert all(objective(found[0, 1] + move) > least for move in moves)


@pytest.mark.parametrize("schedule", [0, -3])
def test_a_schedule_of_no_tokens_is_refused(schedule: int) -> None:
    with pytest.raises(UserError, match=f"the schedule is {schedule} tokens, valid is 1 or more"):
        errors(memory_chunked, RETAINED["kda"], schedule=schedule)


@pytest.mark.parametrize("name", RETAINED)
def test_the_omega_loss_of_a_schedule_is_the_mean_over_its_tokens(name: str) -> None:
    """Kills: a miss that has its own write in it; a miss of the padding; the error at the other memory."""
    inputs, initial = draw(RETAINED[name])
    reset, losses = resets(BATCH, TIME, (3,)), []

    def recording(*given: Any, **named: Any) -> MemoryOutput:
        output = memory_chunked(*given, **named)
        assert output.omega_loss is not None
        losses.append(float(output.omega_loss))
        return output

    for cuts in ((), tuple(range(1, TIME))):
        outcome(recording, RETAINED[name], leaves_of(inputs, initial), reset, cuts, schedule=3)
    assert losses[0] == pytest.approx(np.mean(losses[1:]), rel=1e-12)
