"""What the logits of the whole model may depend on: no later token, no other row, not how text is cut into calls."""

import pytest
import torch

from spec_tests.package.micro.models import (
    CHUNK,
    TIME,
    VARIANTS,
    VOCABULARY,
    call,
    call_in_parts,
    carried_state,
    largest_difference,
    make_model,
    make_tokens,
    rows_of,
)
from spec_tests.sampling import crossed, in_turn

TOLERANCE = 1e-12
one_half, other_half = (pytest.mark.parametrize("variant", in_turn(VARIANTS, turn)) for turn in range(2))


@pytest.mark.parametrize(("variant", "mode"), crossed(VARIANTS, ["train", "eval"]))
def test_no_logit_depends_on_a_later_token(variant: str, mode: str) -> None:
    """Exactly, at every position and in both modes; and each logit does depend on its own token.

    Row t of one call is row t of the other with all tokens after t changed. Kills: a convolution centred on its token;
    a chunk's gradients that reach back to its first read; a window mask one token too wide.
    """
    model, rows = make_model(variant).train(mode == "train"), TIME - 1
    tokens, state = make_tokens(rows, seed=1), carried_state(model, rows)
    changed = tokens.clone()
    for t in range(rows):
        changed[t, t + 1 :] = (changed[t, t + 1 :] + 1 + t) % VOCABULARY
    with torch.no_grad():
        logits, after = (call(model, x, state).logits for x in (tokens, changed))
    for t in range(rows):
        assert (after[t, : t + 1] == logits[t, : t + 1]).all(), f"token {t} sees what follows it"
        assert (after[t, t + 1] - logits[t, t + 1]).abs().max() > 1e-6


@one_half
def test_rows_are_independent(variant: str) -> None:
    """Permuted rows give permuted logits and states; a row alone or among strangers is the same row.

    The rows are out of step: one begins a document inside the call. Kills: a mean over the batch anywhere; a state that
    is shared by rows; a layout that takes the borders of the first row for all.
    """
    model = make_model(variant)
    tokens, state = make_tokens(3, seed=2), carried_state(model, 3)
    reset = torch.zeros(3, TIME, dtype=torch.bool)
    reset[1, 6] = reset[2, 0] = True
    order = torch.tensor([2, 0, 1])
    strangers, strange_reset = make_tokens(3, seed=3), reset.roll(5, dims=1)
    strangers[1], strange_reset[1] = tokens[1], reset[1]
    with torch.no_grad():
        plain = call(model, tokens, state, reset)
        permuted = call(model, tokens[order], rows_of(state, order), reset[order])
        alone = call(model, tokens[1:2], rows_of(state, torch.tensor([1])), reset[1:2])
        among = call(model, strangers, state, strange_reset)

    torch.testing.assert_close(permuted.logits, plain.logits[order], rtol=0.0, atol=TOLERANCE)
    assert largest_difference(permuted.state, rows_of(plain.state, order)) <= TOLERANCE
    row = torch.tensor([1])
    for output in (alone, among):
        mine = row if len(output.logits) == 3 else torch.tensor([0])
        torch.testing.assert_close(output.logits[mine], plain.logits[row], rtol=0.0, atol=TOLERANCE)
        assert largest_difference(rows_of(output.state, mine), rows_of(plain.state, row)) <= TOLERANCE


SPLITS = {
    "one token at a time": list(range(1, TIME)),
    "inside a chunk": [CHUNK + 1],
    "inside a window": [1, 2, 3, 9],
    "at chunk borders": [CHUNK, 3 * CHUNK],
    "an empty call": [7, 7, 8],
}


@pytest.mark.parametrize(("variant", "split"), crossed(VARIANTS, SPLITS))
def test_any_split_into_calls_gives_the_same_logits_and_state(variant: str, split: str) -> None:
    """With a document that begins inside one call and one at the start of another.

    Kills: an anchor, a convolution tail, an Omega window or an attention cache that is not carried over a call; a chunk
    phase that starts anew with each call.
    """
    model = make_model(variant)
    tokens, state = make_tokens(2, seed=4), carried_state(model, 2)
    reset = torch.zeros(2, TIME, dtype=torch.bool)
    reset[0, 5] = reset[1, 9] = True
    with torch.no_grad():
        whole = call(model, tokens, state, reset)
        logits, final = call_in_parts(model, tokens, SPLITS[split], state, reset)

    torch.testing.assert_close(logits, whole.logits, rtol=0.0, atol=TOLERANCE)
    assert largest_difference(final, whole.state) <= TOLERANCE


@pytest.mark.parametrize(("variant", "place"), crossed(VARIANTS, [0, 1, CHUNK, 2 * CHUNK + 1, TIME - 1]))
def test_a_reset_equals_a_fresh_start_at_its_token(variant: str, place: int) -> None:
    """In logits and final state, while the row beside it goes on untouched.

    Kills: any part of the state that outlives its document (momentum, window, convolution tail, Q-K projection, cache,
    position); a phase that counts from the start of the call; a reset of all rows.
    """
    model = make_model(variant)
    tokens, state = make_tokens(2, seed=5), carried_state(model, 2)
    reset = torch.zeros(2, TIME, dtype=torch.bool)
    reset[0, place] = True
    first, second = torch.tensor([0]), torch.tensor([1])
    with torch.no_grad():
        output = call(model, tokens, state, reset)
        untouched = call(model, tokens, state)
        fresh = call(model, tokens[:1, place:], model.initial_state(1))

    torch.testing.assert_close(output.logits[:1, place:], fresh.logits, rtol=0.0, atol=TOLERANCE)
    torch.testing.assert_close(output.logits[1], untouched.logits[1], rtol=0.0, atol=TOLERANCE)
    assert largest_difference(rows_of(output.state, first), fresh.state) <= TOLERANCE
    assert largest_difference(rows_of(output.state, second), rows_of(untouched.state, second)) <= TOLERANCE
    assert largest_difference(rows_of(output.state, first), rows_of(untouched.state, first)) > 1e-3


@other_half
def test_memory_carries_an_early_token_beyond_the_reach_of_attention_and_the_ablation_does_not(variant: str) -> None:
    """Kills: a memory that is read but never written, or written but never read; an ablation that still remembers."""
    for disabled in (False, True):
        model = make_model(variant, f"model.disable_memory={str(disabled).lower()}")
        reach = model.config.reach
        tokens = make_tokens(1, seed=6, time=reach + 12)
        changed = tokens.clone()
        changed[:, 1] = (changed[:, 1] + 1) % VOCABULARY
        with torch.no_grad():
            one, other = (call(model, x, model.initial_state(1)).logits for x in (tokens, changed))
        difference = (one - other)[0].abs().amax(-1)
        assert difference[1] > 1e-3
        late = difference[reach + 2 :]
        assert (late == 0.0).all() if disabled else (late > 1e-9).all()
