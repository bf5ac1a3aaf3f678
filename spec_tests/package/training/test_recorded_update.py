"""A recorded update is the update: the same moves, whatever is recorded, and none where the step has none.

Optimisers are those of a GPU. In the place of a graph stands a tape, which does the same operations again on the same
tensors, with whatever numbers of the host were in them; behind whole steps, whose gradients lie still on a GPU alone,
the work itself. Every test names the fault that was put into the program by
hand and that it caught.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from atlas_ref.config import RunConfig
from atlas_ref.training import optimiser as optimisers
from atlas_ref.training import recorded_update
from atlas_ref.training.clipping import NonFiniteError, scale_gradients
from atlas_ref.training.graphed import PLAIN_STEPS, Recordings
from atlas_ref.training.optimiser import OuterOptimiser, build_optimiser, optimiser_of
from atlas_ref.training.recorded_update import SETS, RecordedUpdate
from atlas_ref.training.run import Run
from atlas_ref.training.step import train_step
from spec_tests.package.micro.runs import micro_config
from spec_tests.package.training.test_graphed_step import REPLAYED, STEPS, batch_of, trained, wide_run

SHAPES = {"a.weight": (8, 6), "b.weight": (8, 6), "c.weight": (6, 8), "bias": (8,), "gain": (3, 4)}
HIDDEN = {"a.weight", "b.weight", "c.weight"}
CONFIG = micro_config("optim.name='muon'", "optim.weight_decay=0.2").optim


Call = tuple[Any, Any, Any, Any]
"""An operation, what it is given, and what it returned."""


def taped(work: Callable[[], None]) -> list[Call]:
    """Do some work, and return its operations."""
    calls: list[Call] = []

    def dispatch(self: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Make an operation, and note it."""
        del self, types
        calls.append((func, args, kwargs or {}, func(*args, **(kwargs or {}))))
        return calls[-1][-1]

    mode: AbstractContextManager[None] = type("_Tape", (TorchDispatchMode,), {"__torch_dispatch__": dispatch})()
    with mode:
        work()
    return calls


class Taped:
    """What `Captured` is on a GPU: work that is recorded, and done when it is replayed."""

    def __init__(self, work: Callable[[], None], device: torch.device, beside: object = None) -> None:
        del device, beside
        self._work = work
        self._calls: list[Call] = []

    @torch.no_grad()
    def replay(self) -> None:
        """Do it; later make each operation again, into what it returned before."""
        if not self._calls:
            self._calls = taped(self._work)
            return
        for func, args, kwargs, before in self._calls:
            for old, new in zip(tree_leaves(before), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make optimisers as on a GPU."""
    monkeypatch.setattr(optimisers, "on_gpu", lambda tensors: True)


def parameters() -> dict[str, nn.Parameter]:
    random = torch.Generator().manual_seed(3)
    return {name: nn.Parameter(torch.randn(shape, generator=random)) for name, shape in SHAPES.items()}


def give(named: dict[str, nn.Parameter], step: int, without: Sequence[str]) -> None:
    """Give gradients that lie where they lay before, to all but some."""
    random = torch.Generator().manual_seed(step)
    for name, x in named.items():
        drawn = torch.randn(x.shape, generator=random)
        lie = kept.setdefault((id(x), name), torch.empty_like(drawn))
        x.grad = None if name in without else lie.copy_(drawn)


kept: dict[tuple[int, str], Tensor] = {}
"""Where gradients lie."""


def made(optimiser: OuterOptimiser, named: dict[str, nn.Parameter], share: float) -> None:
    scale_gradients(named.values(), share)
    optimiser.move()


@pytest.mark.usefixtures("on_gpu")
def test_recorded_updates_move_as_plain_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a rate, a share or a count of steps that is that of the recording for ever; a parameter without a gradient
    that is moved; a state that is made in a recording; more recordings than there is room for.
    """
    monkeypatch.setattr(recorded_update, "Captured", Taped)
    ours, theirs = parameters(), parameters()
    mine, plain = (optimiser_of(x, HIDDEN, CONFIG) for x in (ours, theirs))
    update, recorded = RecordedUpdate(mine), []
    left_out = [(), ("bias",), ("a.weight", "gain"), ("b.weight",), ("c.weight",), ("c.weight",)]
    for step in range(16):
        without, share, factor = left_out[step % 6 if step > 3 else 0], 1.0 if step % 3 else 0.4, 1.0 / (1 + step)
        for named, optimiser in ((ours, mine), (theirs, plain)):
            give(named, step, without)
            optimiser.set_rates(factor)
        recorded.append(update(ours, share))
        if not recorded[-1]:
            made(mine, ours, share)
        made(plain, theirs, share)
        assert all(torch.equal(ours[name], theirs[name]) for name in SHAPES), step
    # The first one makes the states, and the set without `b` comes when there are SETS others.
    assert recorded == [step not in (0, 9, 15) for step in range(16)]
    assert SETS == 4
    for name, x in mine.to_tensors().items():
        assert torch.equal(x, plain.to_tensors()[name]), name


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("name", ["bias", "gain"])
def test_parameters_that_all_decay_or_of_which_none_does_are_moved_at_the_rate_of_the_step(name: str) -> None:
    """The first step of Adam is the sign of the gradient, behind the decay: preflight replays vectors alone.

    Kills: a group without parameters that is asked where they lie, and one whose rate must be a tensor too.
    """
    named = {name: parameters()[name]}
    before, rate = named[name].detach().clone(), 0.25 * CONFIG.learning_rate
    optimiser = optimiser_of(named, set(), CONFIG)
    assert optimiser.reads_rates
    give(named, 0, ())
    optimiser.set_rates(0.25)
    optimiser.move()
    gradient = named[name].grad
    assert gradient is not None
    kept_share = 1.0 - rate * (CONFIG.weight_decay if before.ndim > 1 else 0.0)
    torch.testing.assert_close(named[name].detach(), before * kept_share - rate * gradient.sign(), rtol=0.0, atol=1e-5)


def as_on_gpu(run: Run, config: RunConfig) -> Run:
    run.optimiser = build_optimiser(run.model, config.optim)
    return run


@pytest.mark.usefixtures("on_gpu")
def test_steps_with_recorded_updates_train_as_the_plain_ones_do() -> None:
    """Kills: an update of a replayed step that is made twice, or not at all; a share in another precision."""
    # Without Muon, whose iteration in bfloat16 makes much of what two steps differ by.
    config = micro_config("optim.name='adamw'", "optim.max_norm=0.5", "optim.warmup_steps=4")
    plain, buffered = (as_on_gpu(wide_run(config), config) for _ in range(2))
    recordings = Recordings(buffered.model, buffered.network, buffered.optimiser, buffered.state, config)
    expected, found = trained(plain, config, None), trained(buffered, config, recordings)
    assert any(result.grad_norm > config.optim.max_norm for result in found)
    for one, other in zip(found, expected, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-11)
    for ours, theirs in zip(buffered.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)
    assert recordings.replayed == len(REPLAYED)
    assert recordings.updated == recordings.replayed
    assert STEPS > PLAIN_STEPS


@pytest.mark.usefixtures("on_gpu")
def test_a_recorded_step_that_is_not_finite_moves_nothing() -> None:
    """Kills: an update that is given out before the host has read the norm."""
    config = micro_config("optim.name='muon'")
    run = as_on_gpu(wide_run(config), config)
    recordings = Recordings(run.model, run.network, run.optimiser, run.state, config)
    for step in range(1, 3 + PLAIN_STEPS):
        recordings.expect(batch_of(step))
        given = (run.network, run.optimiser, batch_of(step), run.state, step, config)
        if step == 2 + PLAIN_STEPS:
            with torch.no_grad():
                next(iter(run.model.parameters()))[0, 0] = torch.inf
            before = {name: x.clone() for name, x in {**run.model.state_dict(), **run.optimiser.to_tensors()}.items()}
            with pytest.raises(NonFiniteError):
                train_step(*given, replays=recordings)
            after = {**run.model.state_dict(), **run.optimiser.to_tensors()}
            assert all(torch.equal(after[name], x) for name, x in before.items())
        else:
            run.state = train_step(*given, replays=recordings).output.state
    assert recordings.replayed == 2
    assert recordings.updated == 1
