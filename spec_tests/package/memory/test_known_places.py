"""Layouts of calls of which it is known where the rows stand. Every test names the fault that it caught."""

import pytest
import torch

from atlas_ref.blocks.memory_layer import MemoryLayer
from atlas_ref.functional.looking import BEGINNING, Place, UnseenError, unseen
from atlas_ref.memory.layout import make_plan
from atlas_ref.models.registry import build_model
from spec_tests.package.micro.models import as_atlas
from spec_tests.package.micro.runs import micro_config


@pytest.mark.parametrize("index", [0, 2, 3, 5])
def test_a_call_of_which_the_index_in_a_shard_is_known_has_the_borders_of_one_that_is_looked_at(index: int) -> None:
    """Kills: an index that is taken for that of a chunk; borders counted from the call; a border where one row alone
    crosses that is left out; a row that crosses where its document begins; no border at the first token, or where all
    begin a document, so that what is looked at rounds otherwise."""
    time, chunk, shard = 17, 3, 6
    position, reset = torch.tensor([12 + index, 6 + index, 60 + index]), torch.zeros(3, time, dtype=torch.bool)
    reset[0, 0] = index == 0
    reset[1, shard - index], reset[:, 2 * shard - index] = True, True
    seen = make_plan(position, reset, time, chunk, shard)
    with unseen(Place(index, shard)):
        known = make_plan(position, reset, time, chunk, shard)
    begins = [token for token in range(time) if (index + token) % shard == 0]
    assert known.borders == seen.borders == tuple(begins)
    assert [rows is None for rows in known.crossings] == [rows is None for rows in seen.crossings]
    assert (known.width, known.front) == (chunk, index % chunk)
    tokens = torch.arange(time)[torch.arange(time) % chunk == -index % chunk]
    there = [int(token) for token in ([0, *tokens] if index % chunk else tokens)]
    for token, rows in zip(there, known.crossings, strict=True):
        assert (rows is not None) is (token in begins)
        if rows is not None:
            assert rows.tolist() == [p // shard - 1 for p in known.position[:, token].tolist()]


def test_where_some_rows_alone_begin_a_document_there_is_no_border_of_it() -> None:
    """Kills: a border of every document, at each of which the calls of all rows are cut; a row that has no such segment
    taken for one that begins a document with it."""
    reset = torch.zeros(2, 7, dtype=torch.bool)
    reset[0, 5] = True
    # The first row has segments at 0, 1, 4 and, of the new document, 5; the other at 0, 3 and, over a border, 6.
    plan = make_plan(torch.tensor([8, 0]), reset, 7, 3, 6)
    assert plan.borders == (4, 6)
    assert [None if rows is None else rows.tolist() for rows in plan.crossings] == [None, None, [1, 0], None]


@pytest.mark.parametrize(("length", "shard"), [(4, 0), (7, 0), (4, 6), (9, 6)])
def test_a_place_in_stretches_that_are_no_whole_chunks_and_shards_is_not_used(length: int, shard: int) -> None:
    """Kills: a place in stretches of another length, of which chunks, or shards, begin elsewhere."""
    with unseen(Place(0, length)), pytest.raises(UnseenError, match="where rows begin"):
        make_plan(torch.tensor([length, 2 * length]), None, 7, 3, shard)


@pytest.mark.parametrize("shard", [0, 6])
def test_of_a_document_that_begins_with_the_call_any_place_is_known(shard: int) -> None:
    """Kills: the beginning as a place in stretches of some length; a row that is not seen to begin."""
    fresh = torch.zeros(2, dtype=torch.long)
    with unseen(BEGINNING):
        known = make_plan(fresh, None, 14, 3, shard)
    seen = make_plan(fresh, None, 14, 3, shard)
    assert (known.front, known.width, known.opens) == (seen.front, seen.width, seen.opens)
    assert torch.equal(known.table, seen.table)
    assert known.borders == seen.borders == ((0, 6, 12) if shard else ())


@pytest.mark.parametrize("rule", ["titans", "delta"])
def test_persistent_tokens_are_written_from_their_own_beginning(rule: str) -> None:
    """Kills: the place of the rows of the call taken for that of the persistent tokens, so that borders of their shards
    are missed, in the layout of the memory or of the tokens that Gated DeltaNet solves together."""
    at = ["model.memory.error_at='retained'"] if rule == "delta" else []
    layout = ["model.memory.chunk=1", "model.memory.omega_window=1", "model.memory.shards.length=2"]
    model = as_atlas(build_model(micro_config(f"model.memory.rule='{rule}'", *at, *layout).any_model, 0).double())
    memory = model.get_submodule("layers.0.block.memory")
    assert isinstance(memory, MemoryLayer)
    tokens = torch.randn(8, model.config.d_model, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = memory.after(tokens)
    with unseen(Place(1, 2)):
        found = memory.after(tokens)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)
