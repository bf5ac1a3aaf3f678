"""Generation: streaming tokens with the state carried is the same model as one forward pass over all of them.

Every test names the fault that was put into the program by hand and that it caught.
"""

import pytest
import torch

from atlas_ref.errors import UserError
from atlas_ref.generation.generate import generate, read_prompt
from atlas_ref.generation.sampling import Sampling, stream
from atlas_ref.models.atlas import AtlasModel
from spec_tests.package.micro.runs import micro_config

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
    made = list(generate(read_prompt(model, prompt), 50, Sampling(), stream(3)))
    tokens = torch.tensor([[*prompt, *(step.token for step in made)]])
    with torch.no_grad():
        full = model(tokens, model.initial_state(1), None).logits[0, length - 1 : -1]

    streamed = torch.stack([step.logits for step in made])
    assert streamed.dtype == torch.float64
    torch.testing.assert_close(streamed, full, rtol=1e-10, atol=1e-10)
    assert float(full.std(dim=0).max()) > 0.1


@pytest.mark.parametrize("part", [1, 3])
def test_a_prompt_read_in_parts_is_the_prompt_read_at_once(
    model: AtlasModel, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """Kills: a part left out, read twice or read from a fresh state; the logits of another part than the last."""
    whole = read_prompt(model, PROMPT)
    monkeypatch.setattr("atlas_ref.generation.generate.PROMPT_PART", part)
    torch.testing.assert_close(read_prompt(model, PROMPT).logits, whole.logits, rtol=1e-10, atol=1e-10)


def test_the_same_seed_gives_the_same_text_and_another_seed_another(model: AtlasModel) -> None:
    """Kills: draws from the global generator; a seed that is not read, or of which only 32 bits are."""
    texts = []
    for seed, noise in ((1, 0), (1, 5), (2, 0), (1 + 2**32, 0), (2**64 - 1, 0)):
        torch.manual_seed(noise)
        texts.append([step.token for step in generate(read_prompt(model, PROMPT), 6, Sampling(), stream(seed))])
    assert texts[0] == texts[1]
    assert len({tuple(text) for text in texts}) == 4


def test_a_sample_depends_on_its_own_number_alone(model: AtlasModel) -> None:
    """Kills: one stream for all samples; a start that the sample before has moved on."""
    start = read_prompt(model, PROMPT)
    together = [[made.token for made in generate(start, 6, Sampling(), stream(4, number))] for number in range(3)]
    alone = [made.token for made in generate(read_prompt(model, PROMPT), 6, Sampling(), stream(4, 2))]
    assert together[2] == alone
    assert len({tuple(text) for text in together}) == 3


def test_nothing_follows_the_end_and_what_comes_before_it_is_the_same(model: AtlasModel) -> None:
    """Kills: an end that is not read; an end that is not yielded, so that nobody can tell; one that changes draws."""
    start = read_prompt(model, PROMPT)
    free = [made.token for made in generate(start, 10, Sampling(), stream(1))]
    end = free[6]
    stopped = [made.token for made in generate(start, 10, Sampling(), stream(1), end)]
    assert stopped == free[: free.index(end) + 1]


def test_temperature_zero_and_top_one_take_the_likeliest_token(model: AtlasModel) -> None:
    """Kills: top_k that keeps the least likely; division by a temperature of zero."""
    start = read_prompt(model, PROMPT)
    greedy = list(generate(start, 20, Sampling(temperature=0.0), stream(1)))
    single = list(generate(start, 20, Sampling(top_k=1), stream(2)))
    assert [step.token for step in greedy] == [int(step.logits.argmax()) for step in greedy]
    assert [step.token for step in single] == [step.token for step in greedy]


def test_an_empty_prompt_is_refused(model: AtlasModel) -> None:
    """Kills: the check removed."""
    with pytest.raises(UserError, match="prompt is empty"):
        read_prompt(model, [])


def test_generation_leaves_gradients_on_for_its_caller(model: AtlasModel) -> None:
    """Kills: inference mode held across a yield, which leaks into the code that consumes the tokens."""
    for _ in generate(read_prompt(model, PROMPT), 2, Sampling(), stream(0)):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
