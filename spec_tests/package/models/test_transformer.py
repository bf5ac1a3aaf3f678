"""Attention and a feed-forward without norms: what they compute, and that it is a function of the document alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from atlas_ref.config import load_config
from atlas_ref.config.transformer import TransformerConfig
from atlas_ref.errors import UserError
from atlas_ref.models.transformer import TransformerModel, TransformerOutput, TransformerState
from atlas_ref.models.transformer_tensors import count_parameters, tensors, training_flops
from spec_tests.package.micro.arithmetic import transformer_config

TOKENS = torch.tensor([[3, 0, 7, 6, 1], [2, 2, 5, 4, 0], [1, 4, 3, 0, 2]])
RESET = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
"""A document that ends within a row, one that begins before it, and one that is all of it."""
BEFORE = torch.tensor([[7, 7, 7, 1, 5], [0, 0, 0, 0, 0], [7, 7, 2, 6, 3]])
SEEN = (2, 0, 3)
"""What the last tokens of each row were before the call, and how many of them are of its document."""


def make_model(*overrides: str, seed: int = 3) -> TransformerModel:
    """Return a small model of two layers in float64, whose documents have up to nine tokens."""
    settings = transformer_config("model.n_layers=2", "model.positions=9", *overrides).any_model
    assert isinstance(settings, TransformerConfig)
    return TransformerModel(settings, seed).double()


def call(
    model: TransformerModel, tokens: torch.Tensor, state: TransformerState, reset: torch.Tensor
) -> TransformerOutput:
    output: TransformerOutput = model(tokens, state, reset)
    return output


def some_state(model: TransformerModel) -> TransformerState:
    tokens = torch.cat([torch.zeros(3, 3, dtype=torch.long), BEFORE], 1)
    return replace(model.initial_state(3), position=torch.tensor(SEEN), tokens=tokens)


def answer(model: TransformerModel, document: list[int]) -> NDArray[np.float64]:
    """Return the logits behind the last token of a document, by loops over tokens and heads."""
    w = {name: p.detach().numpy() for name, p in model.named_parameters()}
    stream = [w["embedding.weight"][token] + w["position.weight"][place] for place, token in enumerate(document)]
    for layer in ("layers.0.", "layers.1."):
        q, k, v = np.split(w[f"{layer}projection.weight"] @ np.stack(stream, 1), 3)
        behind = []
        for time, x in enumerate(stream):
            mixed = []
            for head in (slice(0, 4), slice(4, 8)):
                scores = [q[head, time] @ k[head, seen] / 2.0 for seen in range(time + 1)]
                shares = np.exp(scores) / np.exp(scores).sum()
                mixed.append(sum(share * v[head, seen] for seen, share in enumerate(shares)))
            x = x + w[f"{layer}output.weight"] @ np.concatenate(mixed)
            behind.append(x + w[f"{layer}down.weight"] @ np.maximum(w[f"{layer}up.weight"] @ x, 0.0))
        stream = behind
    logits: NDArray[np.float64] = w["head.weight"] @ stream[-1]
    return logits


def test_logits_are_those_of_the_equation_for_every_document() -> None:
    """Kills: attention over a reset, or of later tokens; places that count from the call; a norm; a bias; heads that
    are mixed; scores without their root; a state whose tokens are shifted."""
    model = make_model()
    output = call(model, TOKENS, some_state(model), RESET)
    for row in range(3):
        document = BEFORE[row].tolist()[5 - SEEN[row] :]
        for time in range(5):
            document = [*([] if RESET[row, time] else document), int(TOKENS[row, time])]
            found = output.logits[row, time].detach().numpy()
            np.testing.assert_allclose(found, answer(model, document), rtol=1e-10, atol=1e-12)
        assert int(output.state.position[row]) == len(document)
        assert output.state.tokens[row].tolist()[-len(document) :] == document


@pytest.mark.parametrize("cut", range(6))
def test_any_split_into_calls_gives_the_same(cut: int) -> None:
    """Kills: a state that is not handed on; an empty call that forgets it; a fresh start taken for all rows."""
    model = make_model()
    whole = call(model, TOKENS, some_state(model), RESET)
    first = call(model, TOKENS[:, :cut], some_state(model), RESET[:, :cut])
    second = call(model, TOKENS[:, cut:], first.state, RESET[:, cut:])
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 1), whole.logits, rtol=1e-10, atol=1e-12)
    assert torch.equal(second.state.position, whole.state.position)
    assert torch.equal(second.state.tokens, whole.state.tokens)


def test_a_token_before_the_document_changes_nothing() -> None:
    """Kills: a state whose tokens are seen whatever the number of them; a gradient of one that is not seen."""
    model = make_model()
    state = some_state(model)
    clean = call(model, TOKENS, state, RESET)
    with torch.no_grad():
        model.embedding.weight[7] = float("nan")
    other = TOKENS.where(TOKENS != 7, 0)
    found = call(model, other, replace(state, tokens=state.tokens.where(state.tokens != 7, 1)), RESET)
    hidden = call(model, other, state, RESET)
    assert torch.equal(found.logits, hidden.logits)
    assert torch.equal(hidden.logits[1:], clean.logits[1:])


def test_a_document_longer_than_the_positions_is_refused() -> None:
    """Kills: a place that is clamped."""
    model = make_model("model.positions=4")
    with pytest.raises(UserError, match="a document has more than 4 tokens"):
        call(model, TOKENS, model.initial_state(3), torch.zeros(3, 5, dtype=torch.bool))


def test_the_preset_has_the_parameters_of_its_recipe_and_its_table_lists_them() -> None:
    """2 x 114 x 128, 3 x 128, 4 x 128^2 and 2 x 128 x 512. Kills: a bias; a norm; a tied head; a short table."""
    config = load_config("grok-transformer").any_model
    assert isinstance(config, TransformerConfig)
    shapes = {name: tuple(parameter.shape) for name, parameter in TransformerModel(config, 0).named_parameters()}
    assert {info.name: info.shape for info in tensors(config)} == shapes
    assert count_parameters(config) == sum(np.prod(shape) for shape in shapes.values()) == 226_176


def test_the_operations_of_a_step_are_what_torch_counts_and_three_times_that() -> None:
    """Kills: multiplications counted without additions; attention left out; one of the matrices."""
    model = make_model("model.positions=5").to(torch.float32)
    # The counter knows what the fused form of a processor does not tell it.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call(model, TOKENS, model.initial_state(3), torch.zeros(3, 5, dtype=torch.bool))
    assert training_flops(model.config) * 15 == 3 * counter.get_total_flops()


def test_weights_are_drawn_by_the_seed_alone_with_the_spread_of_nanda() -> None:
    """Kills: the framework's own generator; its own spread; the spread of the others for the head."""
    torch.manual_seed(1)
    first = make_model(seed=4)
    torch.manual_seed(2)
    again, other = make_model(seed=4), make_model(seed=5)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name)), name
        assert not torch.equal(parameter, other.get_parameter(name)), name
    config = load_config("grok-transformer").any_model
    assert isinstance(config, TransformerConfig)
    for name, parameter in TransformerModel(config, 0).named_parameters():
        width = 114 if name == "head.weight" else 128
        assert parameter.std().item() == pytest.approx(width**-0.5, rel=0.2 if "position" in name else 0.02), name
