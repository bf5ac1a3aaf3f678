"""A tokenizer with fewer tokens than the model: it trains, and no other token is drawn, counted as said, or written.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.config import RunConfig
from atlas_ref.config.vocabulary import BYTE_VOCABULARY
from atlas_ref.data.batch import Batch
from atlas_ref.data.tokenizer import ByteTokenizer
from atlas_ref.generation.generate import generate, read_prompt
from atlas_ref.generation.sampling import Sampling, stream
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.models.early_exit import answer_early
from atlas_ref.models.family import Output
from atlas_ref.storage.checkpoint import find_checkpoint
from atlas_ref.tasks.answers import AnswerMeter
from atlas_ref.tasks.language import TokenMeter
from atlas_ref.tasks.puzzles import RowMeter
from atlas_ref.training.export import CONFIG
from atlas_ref.training.samples import read_samples
from spec_tests.package.micro.cognate import cognate_config, make_model, make_tokens
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import SKIPPED, micro_config, micro_file, start

WIDE = 300
FIELDS = (
    f"model.vocab_size={WIDE}",
    "train.max_steps=2",
    "optim.warmup_steps=1",
    "train.eval_batches=1",
    "train.sample_interval=1",
    "train.sample_tokens=25",
)
"""Bytes for a model with 43 tokens more: of 25 that a model knowing nothing draws, one is nearly always of those."""


def config_of(family: str) -> RunConfig:
    """Return a small run of a family whose model has more tokens than there are."""
    return micro_config(*FIELDS, "model.n_layers=1") if family == "atlas" else cognate_config(*FIELDS)


@pytest.mark.parametrize("family", ["atlas", "cognate"])
def test_a_run_with_fewer_tokens_than_its_model_trains_samples_generates_and_is_judged(
    atlas: Atlas, tmp_path: Path, family: str
) -> None:
    """Kills: a run that is refused; a sample or a text that ends in "token 280 is not in the vocabulary"; a checkpoint
    or an export that knows one of the numbers alone; a separator counted from the end of the model's tokens.
    """
    run = tmp_path / "run"
    start(config_of(family), run)

    assert [sample.step for sample in read_samples(run / "samples.jsonl")] == [1, 2]
    made = atlas("generate", run, "--tokens", 25, "--past-end")
    assert (made.code, made.err) == (0, "")
    judged = atlas("eval", run, "--json")
    assert judged.code == 0, judged.err
    assert json.loads(judged.out)["loss"] == pytest.approx(math.log(WIDE), abs=0.6)
    assert atlas("export", run, tmp_path / "out").code == 0
    described = json.loads((tmp_path / "out" / CONFIG).read_text())
    checkpoint = find_checkpoint(run)
    assert described["tokenizer"] == {"kind": "bytes", "tokens": BYTE_VOCABULARY, "separator": BYTE_VOCABULARY - 1}
    assert (checkpoint.tokens, checkpoint.config.any_model.vocab_size) == (BYTE_VOCABULARY, WIDE)
    assert described["model"]["vocab_size"] == WIDE


@pytest.mark.parametrize("size", [BYTE_VOCABULARY, WIDE])
def test_a_run_says_once_before_it_begins_how_many_of_the_tokens_there_are(
    atlas: Atlas, tmp_path: Path, size: int
) -> None:
    """Kills: nothing said; the same said where all tokens are there; the two numbers the other way round."""
    file = micro_file(tmp_path / "m.toml", *FIELDS, f"model.vocab_size={size}", "model.n_layers=1", "train.max_steps=1")
    ended = atlas("train", "--config", file, "--out", tmp_path / "run", "--skip-preflight", SKIPPED)

    assert ended.code == 0, ended.err
    said = " ".join(ended.out.split())
    assert said.count("tokenizer has 257 of the model's 300 tokens;") == (size == WIDE)
    assert said.count("tokenizer") == (size == WIDE)


@pytest.fixture(scope="module")
def eager() -> AtlasModel:
    """A model in float64 that nearly always finds one of the last 43 tokens the likeliest."""
    model = AtlasModel(micro_config(*FIELDS, "model.init_std=0.3", "model.n_layers=1").model, seed=7).double()
    with torch.no_grad():
        model.embedding.weight[BYTE_VOCABULARY:] *= 9.0
    return model


SAMPLINGS = (Sampling(), Sampling(0.0), Sampling(0.7, top_k=30), Sampling(top_p=0.5), Sampling(2.0, 299, 0.9))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_draw_is_one_from_the_logits_of_the_known_tokens_with_minus_infinity_for_the_others(
    eager: AtlasModel, sampling: Sampling
) -> None:
    """Kills: logits of unknown tokens that take a place in the top k or mass of the nucleus, or are set to 0."""
    prompt = [70, 105, 114]
    steps = list(generate(read_prompt(eager, prompt, known=BYTE_VOCABULARY), 25, sampling, stream(3)))
    tokens = [step.token for step in steps]
    with torch.no_grad():
        full = eager(torch.tensor([[*prompt, *tokens]]), eager.initial_state(1), None).logits[0, len(prompt) - 1 : -1]
    assert float((full.argmax(-1) >= BYTE_VOCABULARY).double().mean()) > 0.8
    uniform = stream(3)
    for logits, token in zip(full.numpy(), tokens, strict=True):
        assert token == drawn(logits, sampling, uniform.random())


def drawn(logits: np.ndarray, sampling: Sampling, uniform: float) -> int:
    """Return the token by the definition: minus infinity, temperature, top-k, nucleus, and the cumulative sum."""
    logits = np.where(np.arange(WIDE) < BYTE_VOCABULARY, logits, -np.inf)
    if sampling.temperature == 0.0:
        return int(logits.argmax())
    order = np.argsort(-logits, kind="stable")[: sampling.top_k]
    mass = np.exp((logits[order] - logits.max()) / sampling.temperature)
    mass /= mass.sum()
    reached = np.cumsum(mass) >= sampling.top_p
    count = int(reached.argmax()) + 1 if sampling.top_p < 1.0 else len(mass)
    share = np.zeros(WIDE)
    share[order[:count]] = mass[:count] / mass[:count].sum()
    return int((np.cumsum(share) <= uniform).sum())


@pytest.mark.parametrize(("meter", "whole"), [(TokenMeter, None), (AnswerMeter, "answer"), (RowMeter, "row")])
def test_what_a_judgement_counts_as_said_is_the_likeliest_token_that_there_is(
    eager: AtlasModel, meter: type[TokenMeter], whole: str | None
) -> None:
    """Kills: an unknown token taken for what was said; a loss that leaves out tokens the training counts."""
    targets = torch.tensor([[5, 9, 256], [7, -100, -100]])
    logits = torch.randn(2, 3, WIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for row, place in ((0, 0), (0, 1), (0, 2)):
        logits[row, place, targets[row, place]] = 6.0
    logits[:, :, 280] = 8.0
    judge = meter(ByteTokenizer())
    answered: Output = eager(targets.clamp(min=0), eager.initial_state(2), None)
    judge.add(answered._replace(logits=logits), Batch(targets, targets, targets > 0))
    found = judge.metrics(judge.sums())

    wide = logits.numpy()
    places = [(0, 0), (0, 1), (0, 2), (1, 0)]
    losses = [np.log(np.exp(wide[at]).sum()) - wide[at][int(targets[at])] for at in places]
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-12)
    assert found["bits_per_byte"] == pytest.approx(np.sum(losses) / (3 * math.log(2)), rel=1e-12)
    assert found["accuracy"] == 0.75
    if whole:
        assert (found[f"{whole}_accuracy"], found[f"{whole}s"]) == (0.5, 2)


def test_early_exit_answers_with_the_known_tokens_alone() -> None:
    """Kills: logits of unknown tokens in an answer; known ones that differ from those of all."""
    model, tokens = make_model("shared"), make_tokens(5, seed=13) % 3
    every, known = answer_early(model, tokens, 0.5), answer_early(model, tokens, 0.5, known=3)

    torch.testing.assert_close(known.logits, every.logits[..., :3], rtol=0.0, atol=1e-12)
    assert said_unknown(every.logits) > 0
    assert torch.equal(known.steps, every.steps)


def said_unknown(logits: Tensor) -> int:
    """Return at how many places the likeliest of four tokens is the last."""
    return int((logits.argmax(-1) == 3).sum())
