"""Associative recall: every answer stands in its row, and beyond the reach of attention."""

import pytest
import torch

from atlas_ref.config import load_config
from atlas_ref.data.batch import IGNORED
from atlas_ref.data.recall import recall_accuracy
from atlas_ref.data.streams import open_source


def recall_overrides(**recall: int) -> list[str]:
    """Overrides of data.recall, and the vocabulary that they make."""
    fields = {"pairs": 8, "keys": 64, "values": 64, "gap": 0, "queries": 8} | recall
    vocabulary = fields["keys"] + fields["values"] + 8
    return [f"data.recall.{name}={value}" for name, value in fields.items()] + [f"model.vocab_size={vocabulary}"]


SHAPES = {
    "preset": ["train.seed=4"],
    "few queries of many keys": [*recall_overrides(queries=3, keys=500, values=5), "train.seed=1"],
    "no key left over": [*recall_overrides(keys=8), "train.batch_size=9"],
    "one pair": [*recall_overrides(pairs=1, queries=1, keys=1, values=2), "data.sequence_length=43"],
    "exactly beyond reach": [*recall_overrides(), "data.sequence_length=70"],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_answer_of_recall_stands_behind_its_key_and_beyond_the_reach_of_the_layers(shape: str) -> None:
    """By brute force: the only source of a target is a pair further back than windows and convolutions reach."""
    config = load_config("recall", SHAPES[shape])
    task, source = config.data.recall, open_source(config)
    reach = config.model.n_layers * (config.model.attention.window + config.model.memory.conv_kernel - 1)

    for batch in (source.batch(0), source.batch(11), source.validation(2)):
        for tokens, targets, reset in zip(*(part.tolist() for part in batch.tensors()), strict=True):
            asked = [place for place, target in enumerate(targets) if target != IGNORED]
            assert len(tokens) == config.data.sequence_length
            assert reset == [True] + [False] * (len(tokens) - 1)
            assert len({tokens[place] for place in asked}) == len(asked) == task.queries
            assert len(set(tokens[: 2 * task.pairs : 2])) == task.pairs
            for place in asked:
                pair = tokens.index(tokens[place])
                assert tokens[place] < task.keys <= targets[place] < task.keys + task.values
                assert pair % 2 == 0
                assert pair < 2 * task.pairs
                assert tokens[pair + 1] == targets[place]
                assert place - (pair + 1) > reach
                assert tokens[pair + 2 : place].count(tokens[place]) == 0


def test_recall_shows_no_value_after_the_pairs_so_that_no_answer_can_be_excluded() -> None:
    """Fillers between pairs and queries and behind each query, all eight of them in both places; kills a_j behind q_j,
    with which a memory that binds nothing is right in 37% of the queries, by elimination."""
    config = load_config("recall")
    tokens = open_source(config).batch(0).tokens

    for fillers in (tokens[:, 16:112], tokens[:, 113::2]):
        assert set(fillers.flatten().tolist()) == set(range(128, 136))
    assert tokens[:, 112::2].max() < 64
    assert config.data.recall.filler(128) == 96


def test_recall_answers_and_the_order_of_queries_are_spread_evenly() -> None:
    """Each of 4 values, keys and queried pairs in a quarter of 16,000 rows; 5 standard errors are 0.017."""
    config = load_config("recall", [*recall_overrides(pairs=4, queries=4, keys=4, values=4), "train.batch_size=4000"])
    batches = [open_source(config).batch(step) for step in range(4)]
    first_query = torch.cat([batch.tokens[:, -8] for batch in batches])
    first_key = torch.cat([batch.tokens[:, 0] for batch in batches])
    answers = torch.cat([batch.targets[:, -8] for batch in batches]) - 4

    for value in range(4):
        assert abs((first_key == value).double().mean() - 0.25) < 0.017
        assert abs((answers == value).double().mean() - 0.25) < 0.017
    assert abs((first_query == first_key).double().mean() - 0.25) < 0.017


def test_no_row_of_recall_comes_twice_in_neighbouring_steps_or_in_validation() -> None:
    source = open_source(load_config("recall", ["train.batch_size=64"]))
    batches = [source.batch(step) for step in range(20)] + [source.validation(index) for index in range(8)]
    keys = [tuple(row) for batch in batches for row in batch.tokens[:, :16:2].tolist()]

    assert len(set(keys)) == len(keys) == 28 * 64


def test_recall_accuracy_counts_scored_positions_only() -> None:
    targets = torch.tensor([[IGNORED, 2, IGNORED], [0, 1, IGNORED]])
    logits = torch.full((2, 3, 4), -1.0)
    logits[0, 1, 2] = logits[1, 0, 0] = logits[1, 1, 3] = logits[0, 0, 1] = 5.0

    assert recall_accuracy(logits, targets).item() == pytest.approx(2 / 3)


def test_rows_of_recall_go_on_remembering_where_sequences_do_not_reset() -> None:
    """Kills: a switch that the synthetic task does not read."""
    kept = open_source(load_config("recall", ["data.reset_memory_per_sequence=false"])).batch(3)
    reset = open_source(load_config("recall")).batch(3)
    assert not kept.reset.any()
    assert torch.equal(kept.tokens, reset.tokens)
