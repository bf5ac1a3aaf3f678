"""Which answer is served: the last, or that of the first iteration that is thought right, of a token or of a row.

Every test names the fault that was put into the program by hand and that it caught.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from atlas_ref.config import load_config
from atlas_ref.data.batch import IGNORED
from atlas_ref.errors import UserError
from atlas_ref.models.cognate import CognateModel
from atlas_ref.models.early_exit import answer_early
from atlas_ref.models.serving import halting_steps, served
from atlas_ref.models.session import Session
from atlas_ref.tasks.registry import task_of
from atlas_ref.tasks.serving import ServedMeter
from spec_tests.package.micro.cognate import RELAY, VARIANTS, call, cognate_config, make_model, make_tokens
from spec_tests.package.micro.runs import metric_lines, start

FIRST = ("model.halting.mode='first'", "model.halting.threshold=0.08")
"""A threshold that tokens and rows of the micro model reach at different iterations, or never."""
every_kind = pytest.mark.parametrize("kind", ["token", "row"])


@torch.no_grad()
def answer_of_each(model: CognateModel, tokens: Tensor, row: bool) -> tuple[Tensor, Tensor]:
    """Return the logits that each token is to be served and its iteration, one token and iteration at a time."""
    found = call(model, tokens, model.initial_state(len(tokens))).recursion
    assert found.halting is not None
    iterations, threshold = len(found.halting), model.config.halting.threshold
    logits = torch.zeros(*tokens.shape, len(found.head), dtype=torch.float64)
    steps = torch.zeros_like(tokens)
    for b in range(len(tokens)):
        for t in range(tokens.shape[1]):
            heard = [found.halting[n, b].mean() if row else found.halting[n, b, t] for n in range(iterations)]
            sure = [n for n in range(iterations) if 1.0 / (1.0 + torch.exp(-heard[n])) >= threshold]
            steps[b, t] = sure[0] + 1 if sure else iterations
            logits[b, t] = found.head @ found.hidden[int(steps[b, t])][b, t]
    return logits, steps


@every_kind
def test_the_first_answer_that_is_thought_right_is_served(kind: str) -> None:
    """Kills: the answer before; halting of a row token by token; the last answer although `first` is asked for."""
    model, tokens = make_model("shared", *FIRST, f"model.halting.kind={kind!r}"), make_tokens(4, seed=5)
    logits, steps = answer_of_each(model, tokens, kind == "row")
    output = call(model, tokens, model.initial_state(4))
    found = halting_steps(output)
    assert found is not None
    assert torch.equal(found, steps)
    assert len(set(steps.flatten().tolist())) > 1
    torch.testing.assert_close(served(output).logits, logits, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(answer_early(model, tokens, 0.08).logits, logits, rtol=0.0, atol=1e-12)


def test_the_last_answer_is_served_where_the_mode_says_so() -> None:
    """Kills: a threshold that decides whatever the mode is."""
    model, tokens = make_model("shared", "model.halting.threshold=0.08"), make_tokens(2, seed=6)
    output = call(model, tokens, model.initial_state(2))
    assert served(output) is output
    steps = halting_steps(output)
    assert steps is not None
    assert steps.min() < len(output.recursion.hidden) - 1


def test_a_text_that_is_read_in_parts_is_served_the_same_answers() -> None:
    """Kills: a session that serves the last answer; a token that halts by others of its call."""
    model, tokens = make_model("separate", FIRST[0], "model.halting.threshold=0.026"), make_tokens(2, seed=7)
    with torch.no_grad():
        whole = Session(model, 2)(tokens)
        session = Session(model, 2)
        parts = torch.cat([session(tokens[:, a:b]) for a, b in ((0, 1), (1, 8), (8, tokens.shape[1]))], 1)
        plain = call(model, tokens, model.initial_state(2)).logits
    torch.testing.assert_close(parts, whole, rtol=0.0, atol=1e-12)
    assert (whole - plain).abs().max() > 1e-3


def test_a_judgement_is_of_what_is_served_and_says_when_it_halts(tmp_path: Path) -> None:
    """Kills: a loss of the last answers; iterations of places that nothing is asked of."""
    config = cognate_config(*RELAY, *VARIANTS["shared"], *FIRST)
    model, task = make_model("shared", *FIRST), task_of(config.data)
    source = task.source(config, None)
    batch = source.validation(0)
    batch.targets[:, ::3] = IGNORED
    logits, steps = answer_of_each(model, batch.tokens, row=False)
    meter = ServedMeter(task.meter(source))
    with torch.no_grad():
        meter.add(call(model, batch.tokens, model.initial_state(len(batch.tokens)), batch.reset), batch)
    found = meter.metrics(meter.sums())
    assert found["loss"] == pytest.approx(float(cross_entropy(logits.flatten(0, 1), batch.targets.flatten())))
    assert found["halting_steps"] == pytest.approx(float(steps[batch.targets != IGNORED].double().mean()))
    start(cognate_config(*FIRST, "train.max_steps=3"), tmp_path)
    assert metric_lines(tmp_path)[-1]["val/halting_steps"] == 1.0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("model.halting.kind='none'",), r'model\.halting\.mode is "first"; .* where no answer is thought right'),
        (("model.halting.kind='row'",), r'model\.halting\.mode is "first"; .* a row halts by all of its tokens'),
    ],
)
def test_a_first_answer_that_nothing_could_find_is_refused(overrides: tuple[str, ...], words: str) -> None:
    """Kills: a model that halts nowhere and serves its last answer as the first; a row of text that looks ahead."""
    with pytest.raises(UserError, match=words):
        load_config("cognate-27m", ["model.halting.mode='first'", *overrides])
