"""Generation: streaming tokens with the state carried is the same model as one forward pass over all of them.

Every test names the fault that was put into the program by hand and that it caught.
"""

import pytest
import torch

from atlas_ref.errors import UserError
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.training.generate import draw, generate
from spec_tests.package.runs import micro_config

PROMPT = [70, 105, 114, 115, 116, 32, 67]


@pytest.fixture(scope="module")
def model() -> AtlasModel:
    """A model in float64 whose weights are large enough for the logits to differ from token to token."""
    config = micro_config("model.init_std=0.3", "model.memory.omega_window=3")
    return AtlasModel(config.model, seed=7).double()


@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("rule", ["titans", "omega", "atlas"])
def test_streamed_logits_equal_those_of_one_full_forward(rule: str, length: int) -> None:
    """Kills: a fresh state for each token; the state of the prompt dropped; logits of the token before.

    50 tokens cross chunk borders (8), the attention window (8) and the convolution many times.
    """
    config = micro_config("model.init_std=0.3", "model.memory.omega_window=3", f"model.memory.rule='{rule}'")
    model = AtlasModel(config.model, seed=7).double()
    prompt = PROMPT[:length]
    made = list(generate(model, prompt, 50, 1.0, None, seed=3))
    tokens = torch.tensor([[*prompt, *(step.token for step in made)]])
    with torch.no_grad():
        full = model(tokens, model.initial_state(1), None).logits[0, length - 1 : -1]

    streamed = torch.stack([step.logits for step in made])
    assert streamed.dtype == torch.float64
    torch.testing.assert_close(streamed, full, rtol=1e-10, atol=1e-10)
    assert float(full.std(dim=0).max()) > 0.1


def test_the_same_seed_gives_the_same_text_and_another_seed_another(model: AtlasModel) -> None:
    """Kills: draws from the global generator; a seed that is not read."""
    texts = []
    for seed, noise in ((1, 0), (1, 5), (2, 0)):
        torch.manual_seed(noise)
        texts.append([step.token for step in generate(model, PROMPT, 30, 1.0, None, seed)])
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_temperature_zero_and_top_one_take_the_likeliest_token(model: AtlasModel) -> None:
    """Kills: top_k that keeps the least likely; division by a temperature of zero."""
    greedy = list(generate(model, PROMPT, 20, 0.0, None, seed=1))
    single = list(generate(model, PROMPT, 20, 1.0, 1, seed=2))
    assert [step.token for step in greedy] == [int(step.logits.argmax()) for step in greedy]
    assert [step.token for step in single] == [step.token for step in greedy]


def test_draws_follow_the_softmax_of_the_top_k_at_a_temperature() -> None:
    """Kills: the temperature multiplied instead of divided; top_k off by one; a softmax before the cut."""
    logits = torch.tensor([2.0, -1.0, 1.0, 0.5, 1.5])
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(5)
    for _ in range(4000):
        counts[draw(logits, 0.7, 3, generator)] += 1
    weights = torch.tensor([2.0, 1.0, 1.5]).div(0.7).exp()
    expected = torch.zeros(5)
    expected[[0, 2, 4]] = weights / weights.sum()

    # Three standard deviations of a share of 4,000 draws are at most 0.024.
    torch.testing.assert_close(counts / 4000, expected, rtol=0, atol=0.024)
    assert counts[[1, 3]].sum() == 0


@pytest.mark.parametrize(
    ("prompt", "temperature", "top_k", "words"),
    [([], 1.0, None, "prompt is empty"), (PROMPT, -0.5, None, "temperature is -0.5"), (PROMPT, 1.0, 0, "top-k is 0")],
)
def test_requests_that_make_no_sense_are_refused(
    model: AtlasModel, prompt: list[int], temperature: float, top_k: int | None, words: str
) -> None:
    """Kills: each of the three checks removed in turn."""
    with pytest.raises(UserError, match=words):
        next(generate(model, prompt, 3, temperature, top_k, seed=0))


def test_generation_leaves_gradients_on_for_its_caller(model: AtlasModel) -> None:
    """Kills: inference mode held across a yield, which leaks into the code that consumes the tokens."""
    for _ in generate(model, PROMPT, 2, 1.0, None, seed=0):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
