"""The TTL schedule and shards at the level of the memory: both forms, a numpy loop, splits, and one changed token.

Every test names the fault that was put into the program by hand and that it caught.
"""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from atlas_ref.errors import UserError
from spec_tests.chapters.memory_step.calls import ARCHITECTURES, RULES, rule
from spec_tests.package.memory.ttl_loop import (
    CHUNK,
    Schedule,
    from_the_start,
    gradients,
    loop_outcome,
    make_call,
    outcome,
    run_call,
    scheduled_case,
    worst_error,
)
from spec_tests.ports.reference.memory import memory_rule, pack
from spec_tests.sampling import marks_of

SCHEDULES = {
    "shards": Schedule(shard=2 * CHUNK),
    "every 3": Schedule(every=3),
    "every 3 in shards": Schedule(every=3, shard=2 * CHUNK),
    "every 6 in shards of a chunk": Schedule(every=6, shard=CHUNK, warmup=0),
}
OPTIONS: tuple[dict[str, Any], ...] = (
    {"step_scale": "mass"},
    {"step_scale": "literal", "read": "pre"},
    {"step_scale": "mass", "loss_scale": 1.0, "read": "pre"},
)
CELLS = [
    pytest.param(
        name,
        architecture,
        SCHEDULES[label],
        OPTIONS[number % len(OPTIONS)],
        id=f"{name} {architecture} {label}",
        marks=marks_of(name == "delta" or (number % 2 == 1) == (architecture == "mlp")),
    )
    for number, (name, architecture, label) in enumerate(
        (name, architecture, label)
        for turn, (name, architecture) in enumerate(product(RULES, ARCHITECTURES))
        for label in (("shards",) if name == "delta" else ("every 3 in shards", list(SCHEDULES)[turn % len(SCHEDULES)]))
    )
]
"""Every rule with both memories in shards, most with gathered losses too, and again under another schedule in turn; a
quick run tries a matrix under one of the two schedules and an MLP under the other."""
every_cell = pytest.mark.parametrize(("name", "architecture", "schedule", "options"), CELLS)


@every_cell
def test_the_parallel_form_is_the_recurrence_in_outputs_state_splits_and_gradients(
    name: str, architecture: str, schedule: Schedule, options: dict[str, Any]
) -> None:
    """From a state in the middle of documents, rows out of phase, resets anywhere; cut into four calls as well.

    Kills: losses that wait left out of the state, or not emptied by their write; a count that begins with the call;
    momentum that decays at tokens that write nothing; a border looked for in the first row only; an anchor from before
    the border; M_0 without its gradient; a horizon of the momentum in writes.
    """
    config, inputs, waiting = scheduled_case(name, architecture, schedule, time=21, **options)
    call = make_call(config, inputs, waiting, schedule)
    wanted = outcome(call, chunked=False)
    found = outcome(call, chunked=True)

    assert worst_error(found, wanted) <= (1e-10, "~")
    assert worst_error(gradients(call, found, 3), gradients(call, wanted, 3)) <= (1e-10, "~")
    assert worst_error(outcome(call, (2, 9, 10), chunked=True), found) <= (1e-12, "~")


@every_cell
def test_both_forms_are_the_numpy_loop(
    name: str, architecture: str, schedule: Schedule, options: dict[str, Any]
) -> None:
    """Kills: a write at multiples of N from 0; gradients at the anchor of the token whose loss it is; a mean of losses;
    gamma divided by the length of the gathered window; a mixing rate that ramps by calls, or from the wrong crossing;
    a border at the first token of a document; mixing of M.
    """
    config, inputs, waiting = scheduled_case(name, architecture, schedule, seed=2, **options)
    inputs = from_the_start(inputs)
    loop = loop_outcome(config, inputs, schedule)
    for chunked in (False, True):
        call = make_call(config, inputs, 0 * waiting, schedule)
        output = run_call(call, slice(None), call.state, chunked=chunked)
        state = output.state
        found = {"reads": output.reads, "weights": pack(state.weights), "momentum": pack(state.momentum)}
        for key, tensor in found.items():
            scale = np.abs(loop[key]).max()
            np.testing.assert_allclose(tensor.detach().numpy(), loop[key], rtol=0.0, atol=1e-10 * scale)
        assert (state.position.numpy() == loop["position"]).all()


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "recurrent"])
def test_the_state_holds_the_losses_since_the_last_write_and_no_other(chunked: bool) -> None:
    """After each of nine tokens, of which every fourth writes. Kills: losses that stay when they have been written."""
    schedule = Schedule(every=4)
    config, inputs, waiting = scheduled_case("omega", "matrix", schedule, time=9)
    inputs = from_the_start(inputs)
    inputs["reset"] = 0 * inputs["reset"]
    call = make_call(config, inputs, 0 * waiting, schedule)
    for time in range(1, 10):
        held = run_call(call, slice(0, time), call.state, chunked=chunked).state.waiting[0]
        assert held.shape[1] == 3
        count = time % 4
        assert not held[:, : 3 - count].any()
        for age in range(1, count + 1):
            seen = min(3, time + 1 - age)
            assert torch.equal(held[:, -age, :, :seen], call.leaves["window_weights"][:, time - age, :, :seen])
            assert not held[:, -age, :, seen:].any()


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "recurrent"])
def test_losses_that_end_with_their_chunk_are_gathered_within_it(chunked: bool) -> None:
    """Kills: a gathered window that reaches over a border which each of its windows respects."""
    schedule = Schedule(every=2)
    config, inputs, waiting = scheduled_case("titans", "matrix", schedule, boundary="truncate", step_scale="mass")
    inputs = from_the_start(inputs)
    call = make_call(config, inputs, 0 * waiting, schedule)
    found, wanted = outcome(call, chunked=chunked)["reads"], loop_outcome(config, inputs, schedule)["reads"]
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "recurrent"])
@pytest.mark.parametrize("changed", [0, 2, 3, 8, 14])
def test_a_changed_token_moves_reads_from_the_next_write_of_its_document_on(changed: int, chunked: bool) -> None:
    """N = 4; row 1 begins a document at token 6, so it writes at tokens 3, 9, 13 ...; before its write nothing moves.

    Kills: a write at every token; a count from the start of the row; a write one token late; retention at tokens that
    do not write (the reads of all later tokens would move before the write).
    """
    schedule = Schedule(every=4)
    for name in ("titans", "omega", "atlas") if chunked else ("titans",):
        config, inputs, waiting = scheduled_case(name, "matrix", schedule, time=20, step_scale="mass", read="post")
        inputs = from_the_start(inputs)
        inputs["reset"] = np.zeros_like(inputs["reset"])
        inputs["reset"][1, 6] = 1
        other = {key: value.copy() for key, value in inputs.items()}
        for key in ("keys", "values", "retention", "momentum_decay", "step_size", "window_weights"):
            other[key][:, changed] = 0.7 * other[key][:, changed][::-1]
        reads = [
            outcome(make_call(config, x, 0 * waiting, schedule), chunked=chunked)["reads"] for x in (inputs, other)
        ]
        moved = (reads[0] - reads[1]).detach().abs().amax((-1, -2)) > 0.0
        begun = 6 if changed >= 6 else 0
        for row, start in ((0, 0), (1, begun), (2, 0)):
            write = changed + (3 - (changed - start) % 4)
            end = 6 if row == 1 and changed < 6 else 20
            assert not moved[row, :write].any(), f"{name}: row {row} moves before its write at {write}"
            assert moved[row, write:end].all() or write >= end, f"{name}: row {row} does not move at its write"
            assert not moved[row, end:].any()


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "recurrent"])
def test_gathering_the_losses_of_one_token_is_the_plain_rule_bit_for_bit(chunked: bool) -> None:
    """Kills: another order of operations, or a window one longer, where N = 1."""
    config, inputs, waiting = scheduled_case("omega", "mlp", Schedule(), step_scale="mass")
    call = make_call(config, inputs, waiting, Schedule())
    plain = outcome(call, chunked=chunked)
    gathered = outcome(
        call._replace(state=type(call.state)(**vars(call.state) | {"waiting": (call.leaves["waiting"],)})),
        chunked=chunked,
    )
    assert gathered.pop("waiting.0").shape[1] == 0
    assert plain.keys() == gathered.keys()
    assert all(torch.equal(plain[key], gathered[key]) for key in plain)


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "recurrent"])
@pytest.mark.parametrize("name", RULES)
def test_without_writes_memory_and_momentum_stay_and_are_read(name: str, chunked: bool) -> None:
    """M_0 and no momentum from a reset on; what was carried, bit for bit, before it; in every rule.

    Kills: a retention, or a momentum of `titans`, that goes on acting; a reset that waits for the first write; a read
    of the initial memory in the place of the carried one.
    """
    schedule = Schedule(every=1 if name == "delta" else 3)
    config, inputs, waiting = scheduled_case(name, "matrix", schedule, step_scale="mass")
    inputs["position"] += 1
    inputs["reset"] = np.zeros_like(inputs["reset"])
    inputs["reset"][1, 7] = 1
    call = make_call(config, inputs, 0 * waiting, schedule)
    output = run_call(call, slice(None), call.state, chunked=chunked, writes=False)
    carried, initial, queries = call.state.weights[0], call.initial[0], call.leaves["queries"]

    assert torch.equal(output.state.weights[0][[0, 2]], carried[[0, 2]])
    assert torch.equal(output.state.momentum[0][[0, 2]], call.state.momentum[0][[0, 2]])
    assert torch.equal(output.state.weights[0][1], initial)
    assert not output.state.momentum[0][1].any()
    wanted = torch.einsum("bhvf,bthf->bthv", carried, queries)
    wanted[1, 7:] = torch.einsum("hvf,thf->thv", initial, queries[1, 7:])
    torch.testing.assert_close(output.reads, wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "recurrent"])
@pytest.mark.parametrize("name", RULES)
def test_the_first_written_token_goes_on_in_the_middle_of_its_document(name: str, chunked: bool) -> None:
    """After ten tokens of warm-up: the loop, whose window looks back at them, and whose losses do not include theirs.

    Kills: a position, an anchor or a window that stands still in the warm-up; losses of the warm-up that are written
    after it.
    """
    schedule = Schedule(every=1 if name == "delta" else 3, shard=2 * CHUNK, silent=10)
    config, inputs, waiting = scheduled_case(name, "matrix", schedule, time=20, seed=4, step_scale="mass")
    inputs = from_the_start(inputs)
    found = outcome(make_call(config, inputs, 0 * waiting, schedule), chunked=chunked, silent=10)
    wanted = loop_outcome(config, inputs, schedule)["reads"]
    np.testing.assert_allclose(found["reads"].detach().numpy(), wanted, rtol=0.0, atol=1e-10 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rule": "delta", "update_every": 2}, "update_every is 2; it must be 1"),
        ({"boundary": "truncate", "update_every": 3}, "update_every is 3; it must divide chunk"),
        ({"update_every": 0}, "every 0 tokens"),
    ],
)
def test_a_rule_that_cannot_gather_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        memory_rule({**rule("omega", chunk=CHUNK), **changes})
