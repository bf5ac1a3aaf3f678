"""Layers over the sum of what two numbers are given: what they compute, and that it is a function of the document."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from atlas_ref.config import load_config
from atlas_ref.config.perceptron import PerceptronConfig
from atlas_ref.models.perceptron import PerceptronModel, PerceptronOutput, PerceptronState, numbers
from atlas_ref.models.perceptron_tensors import count_parameters, tensors, training_flops
from spec_tests.package.micro.arithmetic import ONE_HOT, make_model

TOKENS = torch.tensor([[3, 0, 6, 6, 1], [2, 2, 5, 4, 0], [1, 4, 3, 0, 2]])
RESET = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
"""A document that ends within a row, one that begins before it, and one that is all of it."""
both_kinds = pytest.mark.parametrize("kind", [(), ONE_HOT], ids=["learned rows, square", "one-hot, relu"])


def call(model: PerceptronModel, tokens: torch.Tensor, state: PerceptronState, reset: torch.Tensor) -> PerceptronOutput:
    output: PerceptronOutput = model(tokens, state, reset)
    return output


def some_state(model: PerceptronModel) -> PerceptronState:
    random = torch.Generator().manual_seed(5)
    total = torch.randn(3, model.config.hidden[0], generator=random, dtype=torch.float64)
    return replace(model.initial_state(3), position=torch.tensor([1, 0, 4]), total=total)


@both_kinds
def test_logits_are_those_of_the_equation_for_every_document(kind: tuple[str, ...]) -> None:
    """Kills: a sum that goes on over a reset; a mean; the square after the second matrix; a sum without the state; an
    answer to a question of one number, or none to one that another call began; the column of the first place at the
    second; a second layer without its activation."""
    model = make_model(*kind)
    state = some_state(model)
    output = call(model, TOKENS, state, RESET)
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    first = weights["hidden.0.weight"]
    for row in range(3):
        seen, total = int(state.position[row]), state.total[row].numpy()
        for time in range(5):
            seen, total = (0, 0.0 * total) if RESET[row, time] else (seen, total)
            token = int(TOKENS[row, time])
            total = total + (first[:, token + 7 * min(seen, 1)] if kind else first @ weights["embedding.weight"][token])
            seen += 1
            x = np.maximum(weights["hidden.1.weight"] @ np.maximum(total, 0.0), 0.0) if kind else total**2
            expected = weights["head.weight"] @ x if seen >= 2 else np.zeros(7)
            np.testing.assert_allclose(output.logits[row, time].detach().numpy(), expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(output.state.total[row].detach().numpy(), total, rtol=1e-12, atol=1e-14)
        assert int(output.state.position[row]) == seen


@pytest.mark.parametrize("cut", range(6))
@both_kinds
def test_any_split_into_calls_gives_the_same(kind: tuple[str, ...], cut: int) -> None:
    """Kills: a state that is not handed on; an empty call that forgets it; a place that counts from the call."""
    model = make_model(*kind)
    whole = call(model, TOKENS, some_state(model), RESET)
    first = call(model, TOKENS[:, :cut], some_state(model), RESET[:, :cut])
    second = call(model, TOKENS[:, cut:], first.state, RESET[:, cut:])
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 1), whole.logits, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(second.state.total, whole.state.total, rtol=1e-12, atol=1e-12)
    assert torch.equal(second.state.position, whole.state.position)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_what_another_document_held_changes_nothing_forward_and_backward(bad: float) -> None:
    """Kills: the sum before a reset multiplied by zero."""
    model = make_model()
    reset = torch.tensor([[True, False, True, False]])
    clean = call(model, torch.tensor([[2, 2, 1, 4]]), model.initial_state(1), reset)
    with torch.no_grad():
        model.embedding.weight[5] = bad
    found = call(model, torch.tensor([[5, 5, 1, 4]]), model.initial_state(1), reset)
    assert torch.equal(found.logits[:, 2:], clean.logits[:, 2:])
    (gradient,) = torch.autograd.grad(found.state.total.sum(), model.embedding.weight)
    columns = model.hidden[0].get_parameter("weight").sum(0)
    for token in range(7):
        torch.testing.assert_close(gradient[token], columns if token in (1, 4) else torch.zeros_like(columns))


@pytest.mark.parametrize(("preset", "size"), [("grok-square", 70_016), ("grok-mlp", 98_200), ("grok-perp", 98_200)])
def test_a_preset_has_the_parameters_of_its_recipe_and_its_table_lists_them(preset: str, size: int) -> None:
    """97 x 128, 128 x 256, 256 x 97; 194 x 200, 200 x 200, 200 x 97. Kills: a bias; another width; a short table."""
    config = load_config(preset).any_model
    assert isinstance(config, PerceptronConfig)
    shapes = {name: tuple(parameter.shape) for name, parameter in PerceptronModel(config, 0).named_parameters()}
    assert {info.name: info.shape for info in tensors(config)} == shapes
    assert count_parameters(config) == sum(np.prod(shape) for shape in shapes.values()) == size


@both_kinds
def test_the_operations_of_a_step_are_those_of_the_equation_for_the_number_that_is_answered(
    kind: tuple[str, ...],
) -> None:
    """But for W_1, which the model multiplies with the rows of all numbers, once. Kills: multiplications counted
    without additions; one matrix alone; a one-hot vector that is multiplied."""
    model = make_model(*kind)
    with FlopCounterMode(display=False) as counter:
        call(model, TOKENS[:, :2], model.initial_state(3), torch.tensor([[True, False]] * 3))
    first = 2 * model.config.d_model * model.config.hidden[0]
    assert training_flops(model.config) * 6 == 3 * (counter.get_total_flops() + (3 - 7) * first)


def test_the_embedding_of_one_hot_numbers_is_what_both_places_have_for_them() -> None:
    """Kills: one place alone; columns of two numbers side by side."""
    model = make_model(*ONE_HOT)
    first = model.hidden[0].get_parameter("weight").detach()
    found = numbers(model.state_dict(), model.config)
    assert found.shape == (7, 12)
    for number in range(7):
        assert found[number].tolist() == [*first[:, number].tolist(), *first[:, 7 + number].tolist()]
    assert torch.equal(numbers((learned := make_model()).state_dict(), learned.config), learned.embedding.weight)


def test_a_seed_decides_the_weights_whatever_the_global_generator_says() -> None:
    """Kills: weights drawn from the framework's own generator."""
    torch.manual_seed(1)
    first = make_model(seed=4)
    torch.manual_seed(2)
    again, other = make_model(seed=4), make_model(seed=5)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name)), name
        assert not torch.equal(parameter, other.get_parameter(name)), name
