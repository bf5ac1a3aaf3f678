"""Two marks: what attention and convolution see can begin anew without the memory, and the memory without them.

Every test names the fault that was put into the program by hand and that it caught.
"""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from atlas_ref.blocks.attention import AttentionState
from atlas_ref.blocks.block import BlockState
from atlas_ref.blocks.timeline import Marks
from atlas_ref.models.atlas import AtlasModel, ModelOutput, ModelState
from spec_tests.package.micro.models import (
    TIME,
    VARIANTS,
    carried_state,
    largest_difference,
    make_model,
    make_tokens,
    rows_of,
)
from spec_tests.sampling import crossed, in_turn

TOLERANCE = 1e-12
MARKED = 9
"""The token at which a mark stands, in the middle of a chunk."""
one_half, other_half = (pytest.mark.parametrize("variant", in_turn(VARIANTS, turn)) for turn in range(2))


def read(model: AtlasModel, tokens: Tensor, state: ModelState, resets: Marks | Tensor | None = None) -> ModelOutput:
    with torch.no_grad():
        output: ModelOutput = model(tokens, state, resets)
    return output


def mark(*places: tuple[int, int], batch: int = 2) -> Tensor:
    """Return marks at some (row, token)."""
    marks = torch.zeros(batch, TIME, dtype=torch.bool)
    for row, token in places:
        marks[row, token] = True
    return marks


def new_context(state: BlockState, fresh: BlockState) -> BlockState:
    """Return a state whose memory is handed on to a context in which nothing stands yet."""
    branch = replace(state.memory, convolution=fresh.memory.convolution, context=fresh.memory.context)
    return replace(fresh, memory=branch)


def new_memory(state: BlockState, fresh: BlockState) -> BlockState:
    """Return a state whose context goes on before a memory in which nothing is written yet."""
    branch = replace(state.memory, memory=fresh.memory.memory, projections=fresh.memory.projections)
    return replace(state, memory=branch)


@pytest.mark.parametrize(("which", "variant"), crossed(["context", "memory"], VARIANTS))
def test_a_mark_of_one_part_equals_a_call_in_which_that_part_alone_is_fresh(variant: str, which: str) -> None:
    """Kills: angles, sight or convolution counted by the memory's position; a projection that begins with the context;
    chunks that are counted from the context.
    """
    model, change = make_model(variant), {"context": new_context, "memory": new_memory}[which]
    tokens, state, fresh = make_tokens(2, seed=4), carried_state(model, 2), model.initial_state(2)
    marks = mark((0, MARKED), (1, MARKED))
    whole = read(model, tokens, state, Marks(**{which: marks}))
    before = read(model, tokens[:, :MARKED], state)
    handed = ModelState(tuple(change(a, b) for a, b in zip(before.state.layers, fresh.layers, strict=True)))
    after = read(model, tokens[:, MARKED:], handed)
    torch.testing.assert_close(whole.logits, torch.cat([before.logits, after.logits], 1), rtol=0.0, atol=TOLERANCE)
    assert largest_difference(whole.state, after.state) <= TOLERANCE
    plain = read(model, tokens, state)
    assert (whole.logits - plain.logits)[:, MARKED:].abs().max() > 1e-3
    other = read(model, tokens, state, marks)
    assert (whole.logits - other.logits)[:, MARKED:].abs().max() > 1e-3


@one_half
def test_both_marks_at_the_same_tokens_are_the_one_mark_to_the_last_bit(variant: str) -> None:
    """Kills: a context that begins where neither mark stands."""
    model = make_model(variant)
    state = carried_state(model, 2)
    tokens, marks = make_tokens(2, seed=5), mark((0, MARKED), (1, 0), (1, 13))
    one, two = read(model, tokens, state, marks), read(model, tokens, state, Marks(marks, marks))
    assert (one.logits == two.logits).all()
    assert largest_difference(one.state, two.state) == 0.0


@other_half
def test_any_split_gives_the_same_whichever_marks_stand_where(variant: str) -> None:
    """Kills: one position that serves both; a context that is not part of the state."""
    model = make_model(variant)
    state = carried_state(model, 2)
    tokens, resets = make_tokens(2, seed=6), Marks(mark((0, 3), (1, 12)), mark((0, 7), (1, 5), (1, 17)))
    whole = read(model, tokens, state, resets)
    parts = []
    for start, stop in pairwise([0, 1, 3, 4, 11, 11, 18, TIME]):
        cut = Marks(*(marks[:, start:stop] for marks in (mark((0, 3), (1, 12)), mark((0, 7), (1, 5), (1, 17)))))
        output = read(model, tokens[:, start:stop], state, cut)
        parts.append(output.logits)
        state = output.state
    torch.testing.assert_close(torch.cat(parts, 1), whole.logits, rtol=0.0, atol=TOLERANCE)
    assert largest_difference(state, whole.state) <= TOLERANCE


def test_the_marks_of_a_row_are_its_own() -> None:
    """Kills: a mark of any row that begins a context in all."""
    model = make_model("titans convex degree 2")
    tokens, state = make_tokens(2, seed=7), carried_state(model, 2)
    both = read(model, tokens, state, Marks(mark((0, MARKED)), mark((1, 5))))
    plain = read(model, tokens, state, Marks(mark((0, MARKED)), None))
    other = read(model, tokens, state, Marks(None, mark((1, 5))))
    for row, alone in ((0, plain), (1, other)):
        chosen = torch.tensor([row])
        torch.testing.assert_close(both.logits[chosen], alone.logits[chosen], rtol=0.0, atol=TOLERANCE)
        assert largest_difference(rows_of(both.state, chosen), rows_of(alone.state, chosen)) <= TOLERANCE


def test_what_stands_before_a_new_context_reaches_what_follows_through_the_memory_alone() -> None:
    """Kills: a window of attention or a tail of the convolution that outlives the mark of its context."""
    marks = mark((0, MARKED), (1, MARKED))
    one, other = make_tokens(2, seed=8), make_tokens(2, seed=9)
    other[:, MARKED:] = one[:, MARKED:]
    for overrides, same in (((), False), (("model.disable_memory=true",), True)):
        model = make_model("omega", *overrides)
        state = carried_state(model, 2)
        found = [read(model, tokens, state, Marks(marks, None)).logits[:, MARKED:] for tokens in (one, other)]
        assert torch.equal(*found) is same


def test_angles_count_from_the_mark_of_the_context_and_from_no_mark_of_the_memory() -> None:
    """Seen in the keys that the first layer keeps, which no memory stands before. Kills: keys turned by the position of
    the memory.
    """
    model = make_model("omega")
    tokens, state, marks = make_tokens(2, seed=10), carried_state(model, 2), mark((0, MARKED), (1, MARKED))
    handed = read(model, tokens, state, Marks(marks, None))
    alone = read(model, tokens[:, MARKED:], model.initial_state(2))
    emptied = read(model, tokens, state, Marks(None, marks))
    plain = read(model, tokens, state)
    for found, expected in ((handed, alone), (emptied, plain)):
        layers = [output.state.layers[0] for output in (found, expected)]
        keys = [layer.cache_keys for layer in layers if isinstance(layer, AttentionState)]
        torch.testing.assert_close(*keys, rtol=0.0, atol=TOLERANCE)
