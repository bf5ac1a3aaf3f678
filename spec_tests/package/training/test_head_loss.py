"""The loss of a head in parts is cross-entropy of all logits, with its gradients."""

from unittest.mock import patch

import pytest
import torch
from torch.nn import functional as F

from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.functional.head_loss import head_loss
from atlas_ref.tasks.language import token_losses
from atlas_ref.training.supervision import by_parts, said_right

TOKENS, MODEL, VOCABULARY = 11, 6, 13


@pytest.mark.parametrize("held", [1, 4 * VOCABULARY, 10**6])
def test_the_loss_of_a_head_in_parts_is_that_of_all_logits_with_both_gradients(held: int) -> None:
    """Kills: a part that is left out, a gradient of what is not scored, a head whose parts overwrite each other."""
    drawn = torch.Generator().manual_seed(3)
    hidden = torch.randn(TOKENS, MODEL, generator=drawn).double().requires_grad_()
    head = torch.randn(VOCABULARY, MODEL, generator=drawn).double().requires_grad_()
    targets = torch.randint(VOCABULARY, (TOKENS,), generator=drawn)
    targets[[0, 7]] = -1
    # The first of the vocabulary is a target too.
    targets[4] = 0
    targets[1] = int((hidden[1] @ head.T).argmax())
    found, right = head_loss(hidden, head, targets, held)
    logits = hidden @ head.T
    wanted = F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
    slopes, expected = (torch.autograd.grad(1.7 * x, (hidden, head)) for x in (found, wanted))
    torch.testing.assert_close((found, *slopes), (wanted, *expected), rtol=1e-12, atol=1e-13)
    assert torch.equal(right, logits.argmax(1) == targets)
    assert right.any()


@pytest.mark.parametrize(("held", "rows"), [(0, 1), (1, 1), (VOCABULARY, 1), (5 * VOCABULARY - 1, 4), (10**6, TOKENS)])
def test_no_more_logits_are_there_at_once_than_are_held_and_never_less_than_a_token_of_them(
    held: int, rows: int
) -> None:
    """Kills: a part that grows with the vocabulary; two tokens where one is asked."""
    hidden, head = torch.zeros(TOKENS, MODEL), torch.zeros(VOCABULARY, MODEL)
    with patch.object(torch, "log_softmax", wraps=torch.log_softmax) as softmax:
        head_loss(hidden, head, torch.zeros(TOKENS, dtype=torch.int64), held)
    parts = [len(call.args[0]) for call in softmax.call_args_list]
    assert max(parts) == rows
    assert sum(parts) == TOKENS


def test_a_target_that_is_not_scored_may_stand_before_anything() -> None:
    hidden = torch.randn(3, MODEL, generator=torch.Generator().manual_seed(0))
    hidden[1] = torch.nan
    head = torch.ones(VOCABULARY, MODEL, requires_grad=True)
    found, _ = head_loss(hidden, head, torch.tensor([4, -1, 2]), VOCABULARY)
    assert found.isfinite()


def test_answers_in_parts_are_judged_as_answers_with_all_logits() -> None:
    drawn = torch.Generator().manual_seed(4)
    answers = torch.randn(3, 2, 5, MODEL, generator=drawn).unbind()
    head = torch.randn(VOCABULARY, MODEL, generator=drawn)
    tokens = torch.randint(VOCABULARY, (2, 5), generator=drawn)
    targets = tokens.roll(-1, 1).masked_fill(tokens == tokens[0, 1], IGNORED)
    part = Batch(tokens, targets, tokens < 0)
    losses, right = by_parts(answers, head, part)
    for loss, where, hidden in zip(losses, right, answers, strict=True):
        logits = F.linear(hidden, head)
        torch.testing.assert_close(loss, token_losses(logits, targets)[0])
        assert torch.equal(where, said_right(logits, part))
