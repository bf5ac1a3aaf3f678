"""Episodes in training: the hand-over of the memory, the floors of the phases, the verifier, and going on.

Every test names the fault that it is there for.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas_ref.blocks import joined
from atlas_ref.data.batch import Batch, EpisodicSource
from atlas_ref.data.streams import open_source
from atlas_ref.functional.mag_gate import mag_gate
from atlas_ref.memory.contents import zeroed
from atlas_ref.models.atlas import AtlasModel, ModelState
from atlas_ref.storage.checkpoint import BEST
from atlas_ref.training.retrieval import ARMS, beside, verify_retrieval
from atlas_ref.training.step import forward
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.episodes import EPISODES, WITH_TEXT
from spec_tests.package.micro.runs import go_on, metric_lines, micro_config, saved_bytes, start, stop_before

WIDE = ("model.attention.window=64", "model.init_std=0.5")
"""A window that would reach the storage phase, and weights that tell tokens apart."""


def model_of(*overrides: str) -> tuple[AtlasModel, EpisodicSource]:
    config = micro_config(*EPISODES, *WIDE, *overrides)
    source = open_source(config)
    assert isinstance(source, EpisodicSource)
    return AtlasModel(config.model, seed=1).double(), source


def asked(model: AtlasModel, batch: Batch) -> torch.Tensor:
    """Return the logits of the retrieval phase."""
    state = model.initial_state(len(batch.tokens)).map(lambda x: x.double() if x.is_floating_point() else x)
    with torch.no_grad():
        return forward(model, batch, state, "fp32").logits[:, 20:]


def test_what_was_stored_reaches_the_questions_through_the_memory_alone() -> None:
    """Kills: attention, angles or the convolution that go on into the retrieval phase; a memory that begins there; a
    row that is handed the memory of another.
    """
    model, source = model_of()
    batch = source.batch(0)
    other = batch._replace(tokens=torch.cat([batch.tokens[:1].flip(1)[:, :20], batch.tokens[:1, 20:]], 1))
    other = other._replace(tokens=torch.cat([other.tokens, batch.tokens[1:]]))
    found, changed = asked(model, batch), asked(model, other)
    assert bool((found[0] != changed[0]).any(-1).all())
    assert torch.equal(found[1], changed[1])
    silent, _ = model_of("model.disable_memory=true")
    assert torch.equal(asked(silent, batch), asked(silent, other))


def test_a_gate_has_the_floor_of_its_phase_or_that_of_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: one floor for both phases; the lesser of two; a schedule that the phases hide; max(gate, floor)."""
    steps = ("model.gate.floor_until=[2,4]", "model.gate.floor_before=[0.4,0.2]", "model.gate.floor=0.1")
    model, source = model_of(*steps)
    batch, seen = source.batch(0), list[tuple[torch.Tensor, torch.Tensor]]()

    def record(*given: object) -> object:
        gated = mag_gate(*given)  # type: ignore[arg-type]
        assert gated.raw is not None
        seen.append((gated.gate, gated.raw))
        return gated

    monkeypatch.setattr(joined, "mag_gate", record)
    state = model.initial_state(2).map(lambda x: x.double() if x.is_floating_point() else x)
    for step, retrieval in ((0, 0.4), (3, 0.3), (9, 0.3)):
        seen.clear()
        with torch.no_grad():
            output = forward(model, batch, state, "fp32", step)
        floor = np.where(np.arange(40) < 20, 0.8, retrieval)[None, :, None]
        for (gate, raw), told in zip(seen, output.telemetry, strict=True):
            np.testing.assert_allclose(gate, floor + (1.0 - floor) * raw.numpy(), rtol=1e-6)
            values = told._asdict()
            assert values["gate_mean"] == pytest.approx(gate.mean().item(), rel=1e-6)
            assert values["gate_min"] == pytest.approx(gate.min().item(), rel=1e-6)
            assert values["gate_collapse_risk"] == pytest.approx(np.mean(raw.numpy() < floor + 0.05))


@pytest.mark.parametrize("text", [(), (*WITH_TEXT, "data.sequence_length=32")])
def test_a_run_stopped_in_the_middle_of_an_episode_goes_on_as_if_it_had_not(
    text: tuple[str, ...], tmp_path: Path
) -> None:
    """Kills: an episode that begins with the process; a memory that is not in the checkpoint."""
    config = micro_config(*EPISODES, *(text or ("data.sequence_length=10",)))
    start(config, tmp_path / "whole")
    start(config, tmp_path / "parts", stop_before(4))
    go_on(config, tmp_path / "parts")
    assert saved_bytes(tmp_path / "parts") == saved_bytes(tmp_path / "whole")


def test_the_arms_of_the_verifier_differ_in_their_memory_alone() -> None:
    """Kills: partners exchanged twice or not at all; positions zeroed with the memory; an arm that is another's."""
    model, source = model_of("train.batch_size=4")
    found = verify_retrieval(model.float(), source, 3, "fp32")
    assert {f"retrieval/{arm}" for arm in ARMS} < set(found)
    low, mean, high = (found[f"retrieval/gain{end}"] for end in ("_low", "", "_high"))
    assert low < mean < high
    assert mean == pytest.approx(found["retrieval/stored"] - found["retrieval/skipped"])
    rows = torch.arange(8).reshape(4, 2)
    assert beside(rows).tolist() == [[2, 3], [0, 1], [6, 7], [4, 5]]
    state = forward(model, source.episode(0).storage, model.initial_state(4), "fp32").state
    assert isinstance(state, ModelState)
    for before, after in zip(state.layers, zeroed(state).layers, strict=True):
        assert not any(bool(matrix.any()) for matrix in after.memory.memory.weights)
        assert torch.equal(after.memory.memory.position, before.memory.memory.position)
        assert bool(before.memory.memory.position.all())
        assert torch.equal(after.memory.convolution, before.memory.convolution)


def with_weights(state: ModelState, weights: torch.Tensor) -> ModelState:
    """Return a state with other weights in the memory of its first layer."""
    first, *others = state.layers
    memory = replace(first.memory.memory, weights=(weights,))
    return replace(state, layers=(replace(first, memory=replace(first.memory, memory=memory)), *others))


def test_a_model_that_reads_its_memory_follows_the_row_beside_it() -> None:
    """Kills: answers of the own row counted as those of the other; equal answers counted for both.

    In the place of a model stands what says the answer that was told to the row whose state it gets.
    """

    class Told(AtlasModel):
        """Says, at every equals sign, the number that its state has heard behind the same pair."""

        def forward(self, tokens, state, reset, outer_step=None, penalised=False, measured=True):  # type: ignore[no-untyped-def]
            output = super().forward(tokens, state, reset, outer_step, penalised, measured)
            kept = state.layers[0].memory.memory.weights[0]
            if bool((tokens == 9).any()):
                said = kept.flatten(1)[:, :4].round().long()
                logits = torch.zeros_like(output.logits)
                places = (tokens == 8).nonzero()[:, 1].reshape(len(tokens), 4)
                logits[torch.arange(len(tokens))[:, None], places, said] = 1.0
                return output._replace(logits=logits)
            changed = kept.flatten(1).clone()
            changed[:, :4] = tokens.reshape(len(tokens), 4, 5)[..., 4].to(kept.dtype)
            return output._replace(state=with_weights(output.state, changed.reshape(kept.shape)))

    _, source = model_of("train.batch_size=4")
    model = Told(micro_config(*EPISODES, *WIDE).model, seed=1)
    found = verify_retrieval(model, source, 4, "fp32")
    assert found["retrieval/stored"] == found["retrieval/followed"] == 1.0
    assert all(found[f"retrieval/{arm}"] < 0.5 for arm in ARMS[1:])


def test_the_best_checkpoint_is_that_of_the_largest_gain(tmp_path: Path, atlas: Atlas) -> None:
    """Kills: the least loss; the least gain; an evaluation that leaves the arms out or has its own."""
    overrides = ("train.max_steps=4", "train.save_interval=1", "train.eval_interval=1", "train.log_interval=4")
    start(micro_config(*EPISODES, *overrides, "train.batch_size=4", "optim.learning_rate=0.01"), tmp_path / "run")
    lines = metric_lines(tmp_path / "run")
    gains = {line["step"]: line["retrieval/gain"] for line in lines}
    assert len(set(gains.values())) > 1
    best = max(gains, key=lambda step: (gains[step], -step))
    assert (tmp_path / "run" / "checkpoints" / BEST).read_text().strip() == f"step-{best:08d}"
    told = json.loads(atlas("eval", tmp_path / "run", "--json").out)
    assert told["retrieval/gain"] == lines[-1]["retrieval/gain"]
    said = atlas("eval", tmp_path / "run").out
    for what in ("storage skipped", "rows swapped", "memory zeroed", "retrieval gain", "answers of the other row"):
        assert what in said
