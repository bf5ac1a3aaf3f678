"""What a step minimises of a model that answers several times: all answers in one graph, and halting that learns.

Every test names the fault that was put into the program by hand and that it caught.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.models.answers import Answers
from atlas_ref.models.cognate import CognateModel, CognateOutput
from atlas_ref.models.early_exit import answer_early
from atlas_ref.tasks.registry import task_of
from atlas_ref.training.supervision import Learned, Share, explored, learn
from spec_tests.package.micro.cognate import RELAY, VARIANTS, call, cognate_config, make_model, make_tokens

SOURCE = (0.33, 0.5, 0.75, 1.0)
QUIET = ("model.halting.loss_weight=0.0", "model.ltm.entropy=0.0")
"""Nothing but the supervised loss."""


def relay_batch(rows: int = 3) -> Batch:
    """Return rows of which some places, and all of the last row, are not scored."""
    tokens, targets = make_tokens(rows, seed=1), make_tokens(rows, seed=2)
    targets[0, 4:9] = targets[-1] = IGNORED
    reset = torch.zeros(tokens.shape, dtype=torch.bool)
    reset[:, 0] = True
    return Batch(tokens, targets, reset)


def config_of(model: CognateModel, variant: str, *overrides: str) -> RunConfig:
    config = cognate_config(*RELAY, *VARIANTS[variant], *overrides)
    assert config.any_model == model.config
    return config


def learned(model: CognateModel, config: RunConfig, batch: Batch) -> tuple[Learned, CognateOutput]:
    output = call(model, batch.tokens, model.initial_state(len(batch.tokens)), batch.reset)
    task = task_of(config.data)
    share = Share(slice(0, len(batch.tokens)), len(batch.tokens), task.count(batch), 5, 7)
    return learn(task, output, batch, share), output


def cross_entropy(hidden: Tensor, answers: Answers, batch: Batch) -> Tensor:
    """Return the mean over scored places, written anew."""
    logs = torch.log_softmax(hidden @ answers.head.mT, -1)
    scored = batch.targets != IGNORED
    return -torch.stack([logs[r, t, batch.targets[r, t]] for r, t in scored.nonzero().tolist()]).mean()


def gradients(model: CognateModel, value: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(value, list(model.parameters()), retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(model.parameters(), found, strict=True)]


def test_the_gradient_of_all_answers_is_the_weighted_sum_of_those_of_each() -> None:
    """Kills: weights divided by their number; the first answer left out; several graphs where there should be one."""
    model, batch = make_model("separate", *QUIET), relay_batch()
    found, output = learned(model, config_of(model, "separate", *QUIET), batch)
    losses = [cross_entropy(hidden, output.recursion, batch) for hidden in output.recursion.hidden]
    expected = sum(w * loss for w, loss in zip(SOURCE, losses, strict=True)) / sum(SOURCE)
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(found.minimised, expected, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(found.loss, losses[-1], rtol=1e-12, atol=0.0)
    ours = gradients(model, found.minimised)
    each = [gradients(model, loss) for loss in losses]
    for number, gradient in enumerate(ours):
        summed = sum(w * parts[number] for w, parts in zip(SOURCE, each, strict=True)) / sum(SOURCE)
        torch.testing.assert_close(gradient, summed, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(("detach", "later"), [("true", False), ("false", True)])
def test_a_loss_reaches_the_iterations_before_it_unless_they_are_cut(
    detach: str, later: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: the cut left out; a cut inside an iteration, after which nothing learns to refine."""
    fields = (f"model.recursion.detach={detach}", "model.recursion.supervision='last'", *QUIET)
    model = make_model("shared", *fields)
    batch, noted = relay_batch(), list[Tensor]()
    iterate = model.recursion.iterate

    def note(*inputs: Any) -> Any:
        y, z, caches = iterate(*inputs)
        noted.append(y)
        return y, z, caches

    monkeypatch.setattr(model.recursion, "iterate", note)
    found, _ = learned(model, config_of(model, "shared", *fields), batch)
    first, *_, last = torch.autograd.grad(found.minimised, noted, allow_unused=True)
    assert last is not None
    assert (first is not None and bool(first.any())) is later


def test_gradients_reach_every_part() -> None:
    """Kills: a running mean without a gradient through time, a halting head without one, z0 and y0 cut off."""
    for variant in ("separate", "shared"):
        model = make_model(variant)
        found, _ = learned(model, config_of(model, variant), relay_batch())
        names = [name for name, _ in model.named_parameters()]
        for name, gradient in zip(names, gradients(model, found.minimised), strict=True):
            assert gradient.abs().max() > 0.0, name


def halting_by_hand(logits: np.ndarray, right: np.ndarray, threshold: float, least: Sequence[int]) -> float:
    """Return the mean over rows [rows, steps] of the mean cross-entropy up to the first step that halts."""
    total = 0.0
    for row, lowest in zip(range(len(logits)), least, strict=True):
        chances = 1.0 / (1.0 + np.exp(-logits[row]))
        reached = [n for n, chance in enumerate(chances, 1) if chance >= threshold]
        steps = max(reached[0] if reached else len(chances), lowest)
        each = [-math.log(c if ok else 1.0 - c) for c, ok in zip(chances[:steps], right[row][:steps], strict=True)]
        total += sum(each) / steps
    return total


def with_a_row_that_is_right(model: CognateModel, batch: Batch) -> Batch:
    """Return a batch in which row 1 asks two places, as the second answer has them."""
    with torch.no_grad():
        answers = call(model, batch.tokens, model.initial_state(len(batch.tokens)), batch.reset).recursion
    said = (answers.hidden[2] @ answers.head.mT).argmax(-1)
    targets = batch.targets.clone()
    targets[1] = IGNORED
    targets[1, 5:7] = said[1, 5:7]
    return batch._replace(targets=targets)


@pytest.mark.parametrize("kind", ["token", "row"])
def test_halting_is_judged_by_the_answer_of_its_own_step_up_to_the_one_that_halts(kind: str) -> None:
    """Kills: correctness of the answer before; steps after the one that halts; ignored targets counted as wrong."""
    fields = (
        f"model.halting.kind={kind!r}",
        "model.halting.loss_weight=1.0",
        "model.halting.threshold=0.6",
        "model.halting.exploration=0.0",
    )
    model = make_model("shared", *fields)
    batch = with_a_row_that_is_right(model, relay_batch())
    config = config_of(model, "shared", *fields)
    found, output = learned(model, config, batch)
    answers, halting = output.recursion, output.recursion.halting
    assert halting is not None
    scored = (batch.targets != IGNORED).numpy()
    right = np.stack([((y @ answers.head.mT).argmax(-1) == batch.targets).numpy() for y in answers.hidden[1:]], -1)
    logits = halting.detach().movedim(0, -1).numpy()
    if kind == "token":
        expected = halting_by_hand(logits[scored], right[scored], 0.6, [1] * scored.sum()) / scored.sum()
    else:
        asked = np.asarray(scored.any(-1))
        whole = (right | ~scored[..., None]).all(1)[asked]
        expected = halting_by_hand(logits.mean(1)[asked], whole, 0.6, [1] * asked.sum()) / len(asked)
    assert right[scored].any()
    assert (right | ~scored[..., None]).all(1)[1].any()
    assert answers.gain is not None
    losses = [float(cross_entropy(hidden, answers, batch).detach()) for hidden in answers.hidden[1:]]
    supervised = sum(losses) / len(losses) - float(answers.gain.detach())
    assert float(found.minimised.detach()) - supervised == pytest.approx(expected, rel=1e-9)


def test_exploration_draws_for_each_row_by_itself_and_anew_at_each_step() -> None:
    """Kills: numbers that depend on how a batch is cut; the same rows exploring for ever; the first step drawn."""
    settings = make_model("shared", "model.halting.exploration=0.5").config.halting
    share = Share(slice(0, 64), 64, torch.tensor(1), 5, 7)
    drawn = explored(settings, share, (4, 64, 3))
    assert sorted(set(drawn.flatten().tolist())) == [1, 2, 3, 4]
    assert float((drawn > 1).double().mean()) == pytest.approx(0.5, abs=0.1)
    parts = [explored(settings, share._replace(rows=slice(n, n + 16)), (4, 16, 3)) for n in range(0, 64, 16)]
    assert torch.equal(torch.cat(parts), drawn)
    assert not torch.equal(explored(settings, share._replace(step=8), (4, 64, 3)), drawn)


@pytest.mark.parametrize(("kind", "asked"), [("token", 21), ("row", 21), ("token", 2)])
def test_early_exit_gives_each_the_answer_of_its_own_iteration(kind: str, asked: int) -> None:
    """Of the last tokens of a row, that are asked for. Kills: rows that leave in another order than they came; the
    caches of the rows that left; a late answer; rows that wait for a token that nobody asks.
    """
    model = make_model("shared", f"model.halting.kind={kind!r}")
    tokens = make_tokens(16, seed=4)
    with torch.no_grad():
        answers = call(model, tokens, model.initial_state(16)).recursion
    assert answers.halting is not None
    chances = torch.sigmoid(answers.halting)
    if kind == "row":
        chances = torch.sigmoid(answers.halting.mean(-1, keepdim=True)).expand_as(answers.halting)
    threshold = float(chances.median())
    wanted = torch.arange(tokens.shape[1]).expand_as(tokens) >= tokens.shape[1] - asked
    found = answer_early(model, tokens, threshold, asked=wanted)
    seen = set()
    for row, place in np.ndindex(*tokens.shape):
        if not wanted[row, place]:
            continue
        reached = [n for n, chance in enumerate(chances[:, row, place].tolist(), 1) if chance >= threshold]
        steps = reached[0] if reached else len(chances)
        seen.add(steps)
        assert int(found.steps[row, place]) == steps
        expected = answers.hidden[steps][row, place] @ answers.head.mT
        torch.testing.assert_close(found.logits[row, place], expected, rtol=0.0, atol=1e-11)
    assert len(seen) > 2
    assert torch.equal(found.made, torch.where(wanted, found.steps, 0).amax(-1))
    assert bool((found.steps <= found.made.unsqueeze(-1)).all())


def kept_for_the_backward_pass(model: CognateModel, config: RunConfig, batch: Batch) -> int:
    """Return the bytes of all tensors that autograd keeps, each storage once."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        learned(model, config, batch)
    return sum(sizes.values())


def test_four_losses_keep_hardly_more_for_the_backward_pass_than_one() -> None:
    """Kills: the logits of every answer held until the backward pass, which for a large vocabulary is most of it."""
    wide = ("data.relay.symbols=999", "model.vocab_size=1000", "model.halting.kind='none'")
    batch, found = relay_batch(), {}
    for supervision in ("last", "source"):
        fields = (*wide, f"model.recursion.supervision={supervision!r}")
        model = make_model("separate", *fields)
        found[supervision] = kept_for_the_backward_pass(model, config_of(model, "separate", *fields), batch)
    assert found["source"] <= 1.1 * found["last"]
