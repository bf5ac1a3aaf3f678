"""A step in buffers is the step: the same losses, gradients, state and weights, whichever steps may be recorded.

What a GPU records is run here as it is. Every test names the fault that was put into the program by hand and that it
caught.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import Batch
from atlas_ref.training.graphed import PATIENCE, PLAIN_STEPS, Recordings, Standing
from atlas_ref.training.run import Run, new_run
from atlas_ref.training.step import StepResult, draws_of, train_step
from atlas_ref.watching.monitor import measure_layers
from spec_tests.package.micro.cognate import cognate_config
from spec_tests.package.micro.runs import micro_config

CPU = torch.device("cpu")
ROWS, TIME, CHUNK = 2, 16, 8
HIERARCHY = (
    "model.memory.kind='hierarchical'",
    "model.memory.hierarchy.local_chunks=[2, 4]",
    "model.memory.hierarchy.local_shards=[4, 0]",
    "model.memory.qk_projection.kind='tnt'",
)
GATED_DELTA = (
    "model.memory.rule='delta'",
    "model.memory.error_at='retained'",
    "model.memory.chunk=1",
    "model.memory.omega_window=1",
)
LOCAL = ("chunks=[4, 5]", "shards=[8, 0]")
"""Other local memories, whose chunks and shards are no parts of each other."""
BLOCKS = {
    "mag omega": ("model.memory.omega_window=3",),
    "mal atlas": ("model.block='mal'", "model.memory.rule='atlas'"),
    "lmm titans warm-up": ("model.block='lmm'", "model.memory.rule='titans'", "model.memory.ttl_warmup_steps=6"),
    "mag dropout in micro-batches": (
        *(f"model.dropout.{site}=0.2" for site in ("embedding", "attention", "memory", "residual")),
        "train.micro_batches=2",
    ),
    "mag atlas in shards": (
        "model.memory.rule='atlas'",
        "model.memory.shards.length=16",
        "model.memory.qk_projection.kind='tnt'",
    ),
    "lmm gated delta in shards": (*GATED_DELTA, "model.block='lmm'", "model.memory.shards.length=16"),
    "mag persistent tokens in shards": ("model.attention.persistent_in_memory=true", "model.memory.shards.length=16"),
    "mag hierarchy": HIERARCHY,
    "lmm hierarchy m3": (*HIERARCHY, "model.block='lmm'", "model.memory.hierarchy.border='m3'"),
    "mag floor that comes down": ("model.gate.floor_start=0.5", "model.gate.floor_decay_steps=5"),
}
DEEP = "mag omega"
"""The one of these with two layers; what differs in the others is in each layer."""
COGNATE = {
    "cognate": ("model.ltm.kind='both'",),
    "cognate rows": (
        *("train.micro_batches=2", "optim.name='mugrokfast'", "optim.mugrokfast.qk_clip=0.01"),
        *("model.recursion.nets='shared'", "model.recursion.supervision='equal'", "model.ltm.kind='slots'"),
        *(
            "model.recursion.iterations=2",
            "model.halting.kind='row'",
            "model.halting.exploration=0.5",
            "model.halting.loss_weight=0.5",
        ),
    ),
}
"""The other family, which has no chunks: of its steps all are replayed but the first ones and the short one."""
SHARDED = ("mag atlas in shards", "lmm gated delta in shards", "mag persistent tokens in shards")
FEWER = {"lmm titans warm-up": 1, "mag floor that comes down": 4, "mag hierarchy": 3, **dict.fromkeys(SHARDED, 2)}
"""Fewer steps of these are replayed: schedules move in the first ones, a document begins inside a shard in IN_STEP, or
the run ends sooner."""
IN_STEP, RAGGED, SHORT, STEPS = 5, 7, 12, 19
"""The step whose first row begins a document with a chunk, that whose second one does inside a chunk, and the one after
which all rows are inside a chunk."""
UNTIL = {"mag hierarchy": RAGGED}
"""Steps of these end here: calls that cut local shards are made as they are, and no CPU finds out by recording them."""
REPLAYED = [3, 4, 5, 6, 16, 17, 18]
"""Steps that come after three of their kind."""


def batch_of(step: int) -> Batch:
    """Return a batch of documents that began at step 0 and go on, but for what RAGGED and SHORT say."""
    random = torch.Generator().manual_seed(step)
    tokens = torch.randint(257, (ROWS, TIME), generator=random)
    reset = torch.zeros(ROWS, TIME, dtype=torch.bool)
    reset[:, 0] = step in (0, SHORT)
    reset[0, CHUNK] = step == IN_STEP
    if step == RAGGED:
        reset[1, 6] = True
    if step == SHORT:
        tokens, reset = tokens[:, :3], reset[:, :3]
    return Batch(tokens, tokens.roll(-1, 1), reset)


def config_of(name: str) -> RunConfig:
    """Return the small run of either family."""
    return (
        cognate_config(*COGNATE[name], "model.n_layers=1", "model.positions=512")
        if name in COGNATE
        else micro_config(*([] if name == DEEP else ["model.n_layers=1"]), *BLOCKS[name])
    )


def wide_run(config: RunConfig) -> Run:
    """Return a run in float64."""
    run = new_run(config, CPU)
    run.model.double()
    run.state = run.model.initial_state(ROWS).detach()
    return run


def trained(run: Run, config: RunConfig, recordings: Recordings | None, steps: int = STEPS) -> list[StepResult]:
    results = []
    for step in range(steps):
        batch = batch_of(step)
        if recordings is not None:
            recordings.expect(batch)
        result = train_step(run.network, run.optimiser, batch, run.state, step, config, replays=recordings)
        run.state = result.output.state
        results.append(result._replace(output=result.output._replace(state=run.state.map(torch.clone))))
    return results


@pytest.mark.parametrize("name", [*BLOCKS, "cognate rows"])
def test_recorded_steps_train_as_the_plain_ones_do(name: str) -> None:
    """Kills: a state or a batch that is not copied into its buffer; gradients added to those of the step before; a
    recording used where a row begins in the middle, or where a schedule moved; a phase that is taken to be 0; what a
    step left out, or how far it explored, done by the next one too.
    """
    config = config_of(name)
    plain, buffered = wide_run(config), wide_run(config)
    recordings = Recordings(buffered.model, buffered.network, buffered.optimiser, buffered.state, config)
    expected = trained(plain, config, None, UNTIL.get(name, STEPS))
    found = trained(buffered, config, recordings, UNTIL.get(name, STEPS))
    for one, other in zip(found, expected, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-11)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-9)
        ours, theirs = one.output.state.to_tensors(), other.output.state.to_tensors()
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)
        # A sheet that was gathered with the step tells what the output of the step does.
        found_of = measure_layers(one.output, config.any_model, one.sheet)
        for table, wanted in zip(found_of, measure_layers(other.output, config.any_model), strict=True):
            assert table == pytest.approx(wanted, rel=1e-4, abs=1e-9)
    for ours, theirs in zip(buffered.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)
    replayed = STEPS - PLAIN_STEPS - 1 if name in COGNATE else len(REPLAYED) - FEWER.get(name, 0)
    assert recordings.replayed == replayed


def blind() -> AbstractContextManager[None]:
    """Refuse what makes a GPU wait for the host, or the host for a GPU, where it is recorded."""

    def dispatch(self: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call it, unless it asks for a number, for how many there are, or for one that lies on the host."""
        del self, types
        chosen = args[1] if func.overloadpacket in INDEXED else ()
        asks = any(x is not None and x.dtype == torch.bool for x in chosen)
        assert not asks, "an index that is a mask"
        assert func.overloadpacket not in WAITING, func
        return func(*args, **(kwargs or {}))

    mode: AbstractContextManager[None] = type("_Blind", (TorchDispatchMode,), {"__torch_dispatch__": dispatch})()
    return mode


ATEN = torch.ops.aten
INDEXED = {ATEN.index, ATEN.index_put, ATEN.index_put_, ATEN._unsafe_index, ATEN._index_put_impl_}
WAITING = {
    *(ATEN._local_scalar_dense, ATEN.equal, ATEN.is_nonzero, ATEN.lift_fresh),
    *(ATEN.nonzero, ATEN.masked_select, ATEN.masked_scatter, ATEN.repeat_interleave, ATEN.bincount),
    *(ATEN._unique, ATEN._unique2, ATEN.unique_dim, ATEN.unique_consecutive, ATEN.unique_dim_consecutive),
}
"""What reads a number, makes as many as there are of something, or brings a number of the host."""


@pytest.mark.parametrize("name", COGNATE)
def test_a_recorded_step_of_the_other_family_waits_for_nobody(name: str) -> None:
    """Kills: places that are scored picked out by a mask; weights that come from the host; exploration drawn inside; a
    number that the host reads apart from the others, what is measured among them.
    """
    config = config_of(name)
    run = wide_run(config)
    recordings = Recordings(run.model, run.network, run.optimiser, run.state, config)
    worked = None
    for step in range(1, 2 + PLAIN_STEPS):
        batch = batch_of(step)
        draws = draws_of(batch, step, config)
        recordings.expect(batch)
        with blind() if step > PLAIN_STEPS else nullcontext():
            worked = recordings.work(batch, run.state, step, draws)
            sheet = recordings.sheet()
            assert (sheet is None) is (step <= PLAIN_STEPS)
    assert worked is not None
    assert worked.sizes is not None
    told = worked.losses, worked.sizes.largest, worked.sizes.norm
    assert len({x.untyped_storage().data_ptr() for x in told}) == 1
    # Each is what it was before it was put with the others.
    gradients = [x.grad for x in worked.sizes.held.values() if x.grad is not None]
    assert worked.sizes.largest.tolist() == [x.abs().max().item() for x in gradients]
    length = math.sqrt(sum(x.square().sum().item() for x in gradients))
    assert worked.sizes.norm.item() == pytest.approx(length, rel=1e-12)


def test_the_host_counts_where_rows_stand() -> None:
    """Kills: a phase of the end of a batch; rows of different phases; a document that begins inside; with shards, one
    that begins inside a shard with a chunk, which is out of step there alone."""
    standing = Standing(torch.tensor([3, 19]), CHUNK)
    found = [standing.read(batch_of(step)) for step in (1, 0, SHORT, 1, RAGGED, 1)]
    assert found == [3, 0, 0, 3, None, None]
    found = [Standing(torch.tensor([16, 32]), length).read(batch_of(IN_STEP)) for length in (CHUNK, 2 * CHUNK)]
    assert found == [0, None]


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        ((), 8),
        (("model.memory.shards.length=24",), 24),
        (GATED_DELTA, 32),
        ((*GATED_DELTA, "model.memory.shards.length=12"), 12),
        ((*HIERARCHY, "model.memory.chunk=6", *(f"model.memory.hierarchy.local_{x}" for x in LOCAL)), 120),
        (("model.block='mac'",), None),
    ],
    ids=["chunks", "shards", "gated delta", "gated delta in shards", "hierarchy", "mac"],
)
def test_rows_are_counted_by_whole_chunks_and_shards_of_all_memories(
    changes: tuple[str, ...], length: int | None
) -> None:
    """Kills: the chunk of the global memory alone; chunks or shards of a local one left out; tokens that Gated
    DeltaNet solves together, among which a document would begin unseen; segments of MAC, which nobody counts."""
    run = new_run(micro_config("model.n_layers=1", *changes), CPU)
    found = run.model.standing(run.state)
    assert (None if found is None else found[1]) == length


def test_whether_steps_are_recorded_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: nothing told; the same line at each step; a reason that is kept from the user, or several lines of it; a
    line before anything is known; no word of a recording that came after one that was refused.
    """
    config = config_of("mag omega")
    run = wide_run(config)
    recordings = Recordings(run.model, run.network, run.optimiser, run.state, config)
    told = []
    for step in range(1, 3 + PLAIN_STEPS):
        recordings.expect(batch_of(step))
        recordings.work(batch_of(step), run.state, step, None)
        told.append(recordings.news())
    assert told == [*([""] * PLAIN_STEPS), "steps are recorded and replayed (train.graph)", ""]

    def fails(*given: object) -> None:
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    refusing = Recordings(run.model, run.network, run.optimiser, run.state, config)
    with monkeypatch.context() as patched:
        patched.setattr("atlas_ref.training.graphed.Recording", fails)
        for step in range(1, 3 + PLAIN_STEPS):
            refusing.expect(batch_of(step))
            assert refusing.work(batch_of(step), run.state, step, None) is None
            told.append(refusing.news())
    reason = "steps are made as they are, not recorded: operation not permitted"
    assert told[2 + PLAIN_STEPS :] == [*([""] * PLAIN_STEPS), reason, ""]
    refusing.made.clear()
    refusing.work(batch_of(3 + PLAIN_STEPS), run.state, 3 + PLAIN_STEPS, None)
    assert refusing.news() == told[PLAIN_STEPS]


@pytest.mark.parametrize(
    ("changes", "step", "why"),
    [
        ((), RAGGED, "rows are not in step"),
        ((), None, "batches are of another shape"),
        (("optim.polarisation_start=0.1", "optim.polarisation_end=0.2"), 1, "the weight of polarisation moves"),
        (("model.gate.floor_start=0.5", "model.gate.floor_decay_steps=500"), 1, "schedules of the model move"),
        (("model.memory.chunk=64",), 1, "another index of their chunk"),
    ],
)
def test_why_no_step_repeats_the_one_before_is_told_once(changes: tuple[str, ...], step: int | None, why: str) -> None:
    """Kills: a run that is never recorded and never says so; a line a step; a line while it may still come; the reason
    of another condition."""
    config = micro_config("model.n_layers=1", *changes)
    run = wide_run(config)
    recordings = Recordings(run.model, run.network, run.optimiser, run.state, config)
    told = []
    for number in range(PATIENCE + 3):
        batch = batch_of((1, SHORT)[number % 2] if step is None else step)
        recordings.expect(batch)
        assert recordings.work(batch, run.state, number, None) is None
        told.append(recordings.news())
    assert "not recorded: " in told[PATIENCE - 1]
    assert why in told.pop(PATIENCE - 1)
    assert not any(told)
