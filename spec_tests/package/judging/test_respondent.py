"""A model that is asked says and weighs the same whatever else is asked beside it.

Every test names the mistake that was put into the program by hand and that it caught.
"""

import math

import numpy as np
import pytest
import torch

from atlas_ref.config import RunConfig
from atlas_ref.data.packing import laid_out
from atlas_ref.data.tokenizer import ByteTokenizer
from atlas_ref.generation.generate import generate, read_prompt
from atlas_ref.generation.sampling import Sampling, stream
from atlas_ref.judging import respondent as room
from atlas_ref.judging.respondent import Respondent
from atlas_ref.models.family import Model
from atlas_ref.models.registry import build_model
from spec_tests.package.micro.cognate import cognate_config
from spec_tests.package.micro.runs import micro_config

END = 256
PROMPTS = ("a", "the quick brown fox", "zz top", "0123456789" * 9, "b")
CONFIGS = {
    "cognate": cognate_config("model.n_layers=1", "model.vocab_size=270"),
    "atlas": micro_config("model.n_layers=1", "model.vocab_size=270"),
}


def made(config: RunConfig) -> Model:
    """Return a model whose every parameter is away from its start, so that it says different things."""
    model = build_model(config.any_model, 3)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="module", params=[*CONFIGS.values()], ids=[*CONFIGS])
def respondent(request: pytest.FixtureRequest) -> Respondent:
    return Respondent(made(request.param), ByteTokenizer(), "\n", 40, 3)


def said_alone(respondent: Respondent, prompt: str, most: int) -> str:
    """Return the likeliest bytes after a prompt, as `atlas generate` writes them one by one."""
    given = [*f"{prompt}\n".encode()][most - 40 :]
    start = read_prompt(respondent.model, given, None, 257)
    tokens = [step.token for step in generate(start, most, Sampling(temperature=0.0), stream(0), END)]
    return bytes(token for token in tokens if token != END).decode(errors="replace")


def test_what_is_said_is_what_each_prompt_alone_would_bring(
    respondent: Respondent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: filling that is read as text; a reset one place late; answers in the order of their lengths; a prompt cut
    at its end; tokens that the tokenizer lacks.
    """
    alone = [said_alone(respondent, prompt, 4) for prompt in PROMPTS]
    assert len(set(alone)) > 2, "the model says the same to everything"
    assert respondent.say(PROMPTS, 4) == alone
    # Prompts that are read in several calls.
    monkeypatch.setattr(room, "PART", 21)
    assert respondent.say(PROMPTS, 4) == alone


def test_what_is_said_ends_with_the_separator(respondent: Respondent) -> None:
    """Kills: an answer that goes on behind its end, or has the separator in it."""

    class Ending(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.count = respondent.model, 0

        def initial_state(self, batch: int) -> object:
            return self.inner.initial_state(batch)

        def forward(self, tokens: torch.Tensor, *rest: object, **more: object) -> object:
            output = self.inner(tokens, *rest, **more)
            self.count += 1
            logits = output.logits.clone()
            # Row 0 ends at its third token.
            if self.count == 3:
                logits[0, -1, END] = 1e4
            return output._replace(logits=logits)

    free = respondent.say(["aa", "bb"], 7)
    ended = respondent._replace(model=Ending()).say(["aa", "bb"], 7)  # type: ignore[arg-type]
    assert ended[1] == free[1]
    assert ended[0] == said_alone(respondent, "aa", 2)


def test_rows_are_followed_as_each_alone(respondent: Respondent) -> None:
    """Kills: a target one place off; filling that is scored; a share of tokens that the tokenizer lacks."""
    pairs = [("ab", "c"), ("some longer prompt", "and its answer"), ("x", "yz"), ("q", "r")]
    laid = [laid_out([*prompt.encode()], [*answer.encode()], END, 1) for prompt, answer in pairs]
    for (prompt, answer), found in zip(pairs, respondent.follow(laid), strict=True):
        said = [*answer.encode(), END]
        tokens = torch.tensor([[*prompt.encode(), *said]])
        with torch.no_grad():
            logits = respondent.model(tokens, respondent.model.initial_state(1), None).logits[0, :, :257].double()
        places = range(len(prompt) - 1, len(prompt) + len(answer))
        expected = [
            float(logits[at, token] - math.log(np.exp(logits[at].numpy()).sum()))
            for at, token in zip(places, said, strict=True)
        ]
        assert found.log_probabilities == pytest.approx(expected, abs=1e-4)
        assert found.hits == [int(logits[at].argmax()) == token for at, token in zip(places, said, strict=True)]
