"""The family `cognate`: exactly its parameters, causal, row by row, the same in any split, and trained by the one loop.

Every test names the fault that was put into the program by hand and that it caught.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.config import load_config
from atlas_ref.errors import UserError
from atlas_ref.generation.generate import generate, read_prompt
from atlas_ref.generation.sampling import Sampling
from atlas_ref.models.registry import build_model, family_of
from atlas_ref.storage.checkpoint import find_checkpoint
from atlas_ref.training.run import load_model
from spec_tests.package.micro.cognate import (
    TIME,
    VARIANTS,
    call,
    call_in_parts,
    cognate_config,
    make_model,
    make_tokens,
)
from spec_tests.package.micro.runs import go_on, metric_lines, saved_bytes, start, stop_before

TOLERANCE = 1e-11
PARTS = {
    "embedding": 10_485_760,
    "position": 655_360,
    "layers": 13_112_320,
    "norm": 320,
    "ltm.down": 51_200,
    "ltm.up": 51_200,
    "ltm.gate_hidden": 102_560,
    "ltm.gate": 51_520,
    "recursion.z0": 102_720,
    "recursion.y0": 102_720,
    "recursion.sees_features": 410_880,
    "recursion.sees_answer": 410_880,
    "recursion.refine": 820_160,
    "recursion.refine_norm": 640,
    "recursion.update": 615_360,
    "recursion.update_norm": 640,
    "halting_head": 321,
}
"""The table of the source system, whose parts add up to 26,974,561."""


def assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0.0, atol=TOLERANCE)


every_variant = pytest.mark.parametrize("variant", VARIANTS)


def test_the_preset_has_the_parameters_of_the_source_part_by_part() -> None:
    """Kills: a bias in the backbone; a head of its own; a projection that both attentions share."""
    config = load_config("cognate-27m").any_model
    with torch.device("meta"):
        model = build_model(config, 0)
    found = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        (part,) = [part for part in PARTS if name.startswith(f"{part}.")]
        found[part] += parameter.numel()
    assert found == PARTS
    assert sum(found.values()) == 26_974_561 == family_of(config).count_parameters(config)


@pytest.mark.parametrize("kind", ["mean", "slots", "both"])
def test_slots_have_no_parameters_of_their_own(kind: str) -> None:
    """Kills: keys or values of slots that are learned; a second projection for what slots hold."""
    config = load_config("cognate-27m", [f"model.ltm.kind={kind!r}"]).any_model
    assert family_of(config).count_parameters(config) == 26_974_561


@every_variant
def test_the_table_of_tensors_is_that_of_the_model(variant: str) -> None:
    """Kills: a tensor without a line in the table; a shape the wrong way round."""
    model = make_model(variant)
    table = {info.name: info.shape for info in family_of(model.config).tensors(model.config)}
    assert table == {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


@every_variant
def test_any_split_into_calls_gives_the_same_logits_and_state(variant: str) -> None:
    """Kills: the cache of an iteration given to the next; a running mean that starts again in every call."""
    model, tokens = make_model(variant), make_tokens(2, seed=1)
    whole = call(model, tokens, model.initial_state(2))
    for borders in ([1], [7, 8], list(range(1, TIME))):
        logits, state = call_in_parts(model, tokens, borders, model.initial_state(2))
        assert_equal(logits, whole.logits)
        for name, tensor in state.to_tensors().items():
            assert_equal(tensor, whole.state.to_tensors()[name])


@every_variant
def test_a_later_token_changes_nothing_before_it(variant: str) -> None:
    """Kills: attention of the recursion to all tokens, as the source has it."""
    model, tokens = make_model(variant), make_tokens(2, seed=2)
    before = call(model, tokens, model.initial_state(2)).logits
    changed = tokens.clone()
    changed[:, 9] = (changed[:, 9] + 1) % 4
    after = call(model, changed, model.initial_state(2)).logits
    assert torch.equal(after[:, :9], before[:, :9])
    assert not torch.equal(after[:, 9:], before[:, 9:])


@every_variant
def test_rows_do_not_meet(variant: str) -> None:
    """Kills: a running mean that is one for all rows; a mean over the batch."""
    model, tokens = make_model(variant), make_tokens(3, seed=3)
    state = call(model, make_tokens(3, seed=4, time=6), model.initial_state(3)).state
    whole = call(model, tokens, state).logits
    order = torch.tensor([2, 0, 1])
    moved = call(model, tokens[order], state.map(lambda tensor: tensor[order])).logits
    assert_equal(moved, whole[order])
    alone = call(model, tokens[:1], state.rows(slice(0, 1))).logits
    assert_equal(alone, whole[:1])


@every_variant
def test_a_reset_equals_a_fresh_start(variant: str) -> None:
    """Kills: keys of the document before left in a cache; positions that go on over a reset."""
    model, tokens = make_model(variant), make_tokens(2, seed=5)
    reset = torch.zeros(2, TIME, dtype=torch.bool)
    reset[0, 8] = reset[1, TIME - 2] = True
    found = call(model, tokens, call(model, make_tokens(2, seed=6), model.initial_state(2)).state, reset)
    for row, at in ((0, 8), (1, TIME - 2)):
        fresh = call(model, tokens[row : row + 1, at:], model.initial_state(1))
        assert_equal(found.logits[row : row + 1, at:], fresh.logits)
        kept = found.state.rows(slice(row, row + 1)).to_tensors()
        for name, tensor in fresh.state.to_tensors().items():
            assert_equal(kept[name], tensor)


def test_the_second_of_two_backward_passes_needs_nothing_of_the_first() -> None:
    """Kills: a state that keeps its graph, which made the source detach every step of its memory."""
    model = make_model("separate")
    state = model.initial_state(2)
    for seed in (7, 8):
        output = call(model, make_tokens(2, seed=seed), state)
        torch.autograd.backward(output.logits.square().mean())
        state = output.state.detach()


def test_training_goes_on_bit_for_bit_from_a_checkpoint(tmp_path: Path) -> None:
    """Kills: a cache, the running mean or what slots hold left out of a checkpoint; exploration that counts calls
    instead of steps."""
    config = cognate_config("model.recursion.iterations=3", "data.context_batches=2", "model.ltm.kind='both'")
    start(config, tmp_path / "whole")
    start(config, tmp_path / "parts", stop_before(4))
    go_on(config, tmp_path / "parts")
    assert saved_bytes(tmp_path / "parts") == saved_bytes(tmp_path / "whole")
    first, *_, last = metric_lines(tmp_path / "whole")
    assert first["train/loss"] == pytest.approx(math.log(257), abs=0.05)
    assert last["train/loss"] < first["train/loss"]
    assert last["memory/layer_0/state_finite"] == 1.0
    assert 0.0 < last["memory/halting_mean"] < 1.0
    assert last["memory/memory_usage"] == 1.0
    assert 0.0 < last["memory/surprise_rate"] < 1.0
    assert 0.0 < last["memory/novelty"] < 2.0


def test_it_generates_with_its_state_carried(tmp_path: Path) -> None:
    """Kills: a generator that knows the state of the first family."""
    start(cognate_config(), tmp_path)
    model = load_model(find_checkpoint(tmp_path), torch.device("cpu"))
    prompt = [72, 101, 108]
    made = list(generate(read_prompt(model, prompt), 5, Sampling(0.0), np.random.default_rng(0)))
    tokens = torch.tensor([[*prompt, *(step.token for step in made)]])
    logits: Tensor = model(tokens, model.initial_state(1), None).logits[0]
    for index, step in enumerate(made):
        torch.testing.assert_close(step.logits, logits[len(prompt) - 1 + index])


def test_a_document_beyond_the_positions_is_refused() -> None:
    """Kills: an index beyond the table, which ends with a traceback, or on a GPU with less."""
    model = make_model("separate")
    with pytest.raises(UserError, match=r"a document has more than 64 tokens, and model\.positions is no more"):
        call(model, make_tokens(1, seed=9, time=65), model.initial_state(1))
