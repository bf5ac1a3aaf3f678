"""Shards at the level of the memory: no gradient goes back over their border, and the mixing rate learns where it acts.

Every test names the fault that was put into the program by hand and that it caught.
"""

import numpy as np
import pytest
import torch

from atlas_ref.errors import UserError
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.layout import make_plan
from atlas_ref.memory.rules import Gates
from spec_tests.package.memory.ttl_loop import (
    CHUNK,
    Schedule,
    loop_outcome,
    make_call,
    outcome,
    scheduled_case,
)


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "recurrent"])
def test_no_gradient_goes_back_over_a_border_and_the_values_do(chunked: bool) -> None:
    """c = 1, so that only S crosses. Kills: a momentum that is mixed without its stop; S dropped at the border."""
    schedule = Schedule(shard=2 * CHUNK, warmup=1)
    config, inputs, waiting = scheduled_case("titans", "matrix", schedule, time=12, step_scale="mass")
    inputs["window_weights"] = inputs["window_weights"][..., :1]
    inputs["window_keys"], inputs["window_values"] = inputs["window_keys"][:, :0], inputs["window_values"][:, :0]
    inputs["position"], inputs["reset"] = np.array([10, 34, 2]), 0 * inputs["reset"]
    borders = (6, 6, 6)
    call = make_call(config, inputs, waiting, schedule)
    after = outcome(call, chunked=chunked)["reads"][:, 6:]
    names = ("values", "keys", "momentum", "weights", "initial")
    found = dict(zip(names, torch.autograd.grad(after.square().sum(), [call.leaves[n] for n in names]), strict=True))

    for row, border in enumerate(borders):
        assert not found["values"][row, :border].any()
        assert found["values"][row, border:].abs().amax() > 1e-6
    assert not found["momentum"].any()
    assert not found["weights"].any()
    assert found["initial"].abs().amax() > 1e-6
    changed = {**inputs, "values": inputs["values"].copy()}
    changed["values"][:, 5] += 1.0
    other = outcome(make_call(config, changed, waiting, schedule), chunked=chunked)["reads"][:, 6:]
    assert ((other - after)[:, 0].abs().amax((-1, -2)) > 1e-6).all()


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "recurrent"])
def test_the_logit_learns_from_rows_past_the_warm_up_only_and_by_its_finite_difference(chunked: bool) -> None:
    """Row 0 crosses for the first time, row 1 for the fourth, row 2 never; the warm-up is two crossings.

    Kills: a ramp counted in calls or steps; crossings counted from the start of the call; a rate that is a constant.
    """
    schedule = Schedule(shard=2 * CHUNK, warmup=2)
    config, inputs, waiting = scheduled_case("omega", "matrix", schedule, time=8, step_scale="mass")
    inputs["position"], inputs["reset"] = np.array([5, 29, 0]), 0 * inputs["reset"]
    inputs["reset"][2, 6] = 1
    slopes = []
    for row in range(3):
        call = make_call(config, inputs, waiting, schedule)
        reads = outcome(call, chunked=chunked)["reads"]
        (slope,) = torch.autograd.grad(reads[row].square().sum(), call.leaves["alpha_logit"])
        slopes.append(float(slope))
    step = 1e-5
    ends = [
        np.square(loop_outcome(config, inputs, schedule._replace(logit=schedule.logit + sign * step))["reads"][1]).sum()
        for sign in (1.0, -1.0)
    ]
    assert slopes[0] == slopes[2] == 0.0
    assert abs(slopes[1]) > 1e-4
    assert slopes[1] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)


def test_a_plan_for_other_shards_is_refused() -> None:
    """Kills: shards that are passed to the memory and never crossed, because the plan was made without them."""
    schedule = Schedule(shard=2 * CHUNK)
    config, inputs, waiting = scheduled_case("omega", "matrix", schedule)
    call = make_call(config, inputs, waiting, schedule)

    x = call.leaves
    gates = Gates(x["retention"], x["momentum_decay"], x["step_size"], x["window_weights"])
    plan = make_plan(call.state.position, call.reset, call.reset.shape[1], CHUNK)
    with pytest.raises(UserError, match="shards of 0 tokens, expected 8"):
        memory_chunked(
            call.rule,
            x["keys"],
            x["values"],
            x["queries"],
            gates,
            call.initial,
            call.state,
            call.reset,
            plan,
            shards=call.shards,
        )
