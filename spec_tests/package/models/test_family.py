"""A family of models that the house has never seen goes through the same loop, checkpoint, monitor and generator."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from atlas_ref.blocks.timeline import Marks, marks_of
from atlas_ref.config import RunConfig
from atlas_ref.config.model import ModelConfig
from atlas_ref.errors import UserError
from atlas_ref.generation.generate import generate, read_prompt
from atlas_ref.generation.sampling import Sampling
from atlas_ref.memory.state import StateTree
from atlas_ref.models.family import Family, Measurements, Model, Output
from atlas_ref.models.tensors import TensorInfo
from atlas_ref.storage.checkpoint import find_checkpoint
from atlas_ref.training.run import load_model
from spec_tests.package.micro.runs import go_on, metric_lines, micro_config, saved_bytes, start, stop_before


@dataclass(frozen=True)
class Mean(StateTree):
    """Sum and number of the embeddings of a document so far."""

    total: Tensor
    count: Tensor


class Told(NamedTuple):
    """What the one layer tells; the parts of a batch are merged by the rule of the name."""

    read_norm: Tensor


class Result(NamedTuple):
    """What a call of it returns."""

    logits: Tensor
    state: Mean
    telemetry: tuple[Told, ...]
    indecision: Tensor | None = None


class CausalMean(Model):
    """logits = W mean of the embeddings of the document up to this token."""

    def __init__(self, config: ModelConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        random = torch.Generator().manual_seed(seed)
        self.embedding = nn.Parameter(torch.randn(config.vocab_size, config.d_model, generator=random))
        self.head = nn.Parameter(torch.zeros(config.vocab_size, config.d_model))

    def initial_state(self, batch: int) -> Mean:
        return Mean(torch.zeros(batch, self.config.d_model), torch.zeros(batch))

    def forward(
        self,
        tokens: Tensor,
        state: Mean,
        reset: Tensor | Marks | None,
        outer_step: int | None = None,
        penalised: bool = False,
        measured: bool = True,
    ) -> Result:
        means, begins = [], marks_of(reset).memory
        for time, embedded in enumerate(self.embedding[tokens].unbind(1)):
            kept = torch.ones_like(state.count) if begins is None else (~begins[:, time]).float()
            state = Mean(state.total * kept[:, None] + embedded, state.count * kept + 1.0)
            means.append(state.total / state.count[:, None])
        return Result(
            torch.stack(means, 1) @ self.head.mT,
            state,
            (Told(torch.stack(means).square().sum(-1).mean().sqrt().detach()),),
        )

    def parts(self) -> list[nn.Module]:
        return []


def tensors(config: ModelConfig) -> tuple[TensorInfo, ...]:
    shape = (config.vocab_size, config.d_model)
    return tuple(TensorInfo(name, shape, "token, model", "a row of each token") for name in ("embedding", "head"))


def measure(output: Output, config: ModelConfig) -> tuple[Measurements, ...]:
    told = {name: float(value) for name, value in output.telemetry[0]._asdict().items()}
    return ({**told, "state_finite": float(torch.isfinite(output.state.total).all())},)


TOY = Family("toy", CausalMean, tensors, lambda c: 2 * c.vocab_size * c.d_model, lambda c: c.d_model, measure)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A configuration that builds the toy, with micro-batches and parts of a batch to merge."""
    monkeypatch.setattr("atlas_ref.models.registry.FAMILIES", {ModelConfig: TOY})
    return micro_config("train.micro_batches=2", "optim.learning_rate=0.05", "train.max_steps=9")


def test_a_new_family_trains_and_is_watched_and_judged(toy: RunConfig, tmp_path: Path) -> None:
    """Kills: a loop, a monitor or a judgement that builds or looks into one family by name."""
    start(toy, tmp_path)
    first, *_, last = metric_lines(tmp_path)
    assert last["train/loss"] < first["train/loss"] == pytest.approx(math.log(257))
    assert last["memory/layer_0/state_finite"] == 1.0
    assert last["memory/layer_0/read_norm"] > 0.0
    assert {"val/loss", "val/accuracy", "train/mfu"} <= last.keys()


def test_a_new_family_goes_on_bit_for_bit_from_its_checkpoint(toy: RunConfig, tmp_path: Path) -> None:
    """Kills: a checkpoint that keeps the state of one family, or leaves that of another out."""
    start(toy, tmp_path / "whole")
    start(toy, tmp_path / "parts", stop_before(4))  # A step later every row would begin afresh, restored or not.
    assert {"total", "count"} <= find_checkpoint(tmp_path / "parts").tensors("state.safetensors").keys()
    go_on(toy, tmp_path / "parts")
    assert saved_bytes(tmp_path / "parts") == saved_bytes(tmp_path / "whole")


def test_a_new_family_generates_with_its_state_carried(toy: RunConfig, tmp_path: Path) -> None:
    """Kills: a generator that knows the state of one family."""
    start(toy, tmp_path)
    model = load_model(find_checkpoint(tmp_path), torch.device("cpu"))
    prompt = [72, 101, 108]
    made = list(generate(read_prompt(model, prompt), 5, Sampling(0.0), np.random.default_rng(0)))
    tokens = torch.tensor([[*prompt, *(step.token for step in made)]])
    logits = model(tokens, model.initial_state(1), None).logits[0]
    for index, step in enumerate(made):
        torch.testing.assert_close(step.logits, logits[len(prompt) - 1 + index])
        assert step.token == int(logits[len(prompt) - 1 + index].argmax())


def test_a_checkpoint_of_another_family_is_refused_by_the_name_of_a_tensor(
    toy: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: weights that are put into whatever has room for them."""
    start(toy, tmp_path)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"more than are in its|is missing|is not one of this model"):
        load_model(find_checkpoint(tmp_path), torch.device("cpu"))
