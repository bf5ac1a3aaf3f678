"""The object that remembers: what it keeps, forgets and takes back, and that nothing else remembers with it."""

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.models.session import Session
from spec_tests.package.micro.models import VARIANTS, call, make_model, make_tokens
from spec_tests.sampling import in_turn

one_half, other_half = (pytest.mark.parametrize("variant", in_turn(VARIANTS, turn)) for turn in range(2))


def read(session: Session, seed: int, time: int = 14) -> Tensor:
    """Read random tokens without a graph and return their logits; the last ones write in every variant."""
    with torch.no_grad():
        return session(make_tokens(len(session.get_memory_state().layers[0].memory.memory.position), seed, time))


@one_half
def test_a_session_is_the_model_with_its_state_handed_on(variant: str) -> None:
    """Kills: a state that is not kept; one that is kept from before the call; resets that are not passed on."""
    model = make_model(variant)
    session, state = Session(model, batch=2), model.initial_state(2)
    reset = torch.zeros(2, 9, dtype=torch.bool)
    reset[1, 4] = True
    for seed in range(3):
        tokens = make_tokens(2, seed, 9)
        with torch.no_grad():
            expected = call(model, tokens, state, reset)
            assert (session(tokens, reset) == expected.logits).all()
        state = expected.state


@other_half
def test_reading_changes_the_memory_and_a_reset_brings_the_start_back(variant: str) -> None:
    """The test that the source system's plan names. Kills: a reset of the momentum alone; a reset that keeps M."""
    session = Session(make_model(variant), batch=2)
    fresh = read(session, seed=1)
    written = session.get_memory_state().to_tensors()
    assert (read(session, seed=1) - fresh).abs().max() > 1e-3

    session.reset_memory_state()
    restored = session.get_memory_state().to_tensors()
    for part in ("weights.0", "momentum.0"):
        assert not torch.equal(written[f"layers.0.memory.memory.{part}"], restored[f"layers.0.memory.memory.{part}"])
    assert (read(session, seed=1) == fresh).all()


@one_half
def test_a_session_reads_by_the_weights_that_the_model_has_now(variant: str) -> None:
    """In inference mode, token by token. Kills: what follows from weights, kept though they have changed."""
    model = make_model(variant)
    session = Session(model, batch=2)
    with torch.inference_mode():
        session(make_tokens(2, 0, 1))
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)), alpha=0.1)
    fresh, session_state = Session(model, batch=2), session.get_memory_state()
    fresh.set_memory_state(session_state)
    with torch.inference_mode():
        assert torch.equal(session(make_tokens(2, 1, 1)), fresh(make_tokens(2, 1, 1)))


@one_half
def test_a_state_that_was_taken_out_stored_and_put_back_goes_on_exactly(variant: str) -> None:
    """In every bit, through safetensors too. Kills: a tensor that is not part of the state (momentum, window, tail,
    projection, cache, position); a state that later calls change in place.
    """
    model = make_model(variant)
    session = Session(model, batch=2)
    read(session, seed=1)
    saved = session.get_memory_state()
    stored = save({name: tensor.clone().contiguous() for name, tensor in saved.to_tensors().items()})
    expected = read(session, seed=2)
    session.set_memory_state(saved)
    assert (read(session, seed=2) == expected).all()

    other = Session(model, batch=2)
    other.set_memory_state(saved.from_tensors(load(stored)))
    for name, tensor in other.get_memory_state().to_tensors().items():
        assert torch.equal(tensor, saved.to_tensors()[name])
    assert (read(other, seed=2) == expected).all()


def test_only_the_rows_of_a_mask_are_reset() -> None:
    """Kills: a reset of all rows; a mask that is taken the wrong way round."""
    session = Session(make_model("titans convex degree 2"), batch=3)
    read(session, seed=1)
    kept = session.get_memory_state()
    session.reset_memory_state(torch.tensor([True, False, True]))
    fresh = Session(session.model, batch=3).get_memory_state().to_tensors()
    for name, tensor in session.get_memory_state().to_tensors().items():
        assert torch.equal(tensor[1], kept.to_tensors()[name][1])
        assert torch.equal(tensor[[0, 2]], fresh[name][[0, 2]])
    with pytest.raises(UserError, match=r"has the shape \[2\]; it must be \[3\]"):
        session.reset_memory_state(torch.tensor([True, False]))


def test_two_sessions_of_a_model_do_not_meet() -> None:
    """Kills: state in the module."""
    model = make_model("omega")
    one, other = Session(model, batch=1), Session(model, batch=1)
    expected = [read(one, seed) for seed in range(3)]
    mixed = []
    for seed in range(3):
        mixed.append(read(other, seed))
        read(one, seed + 10)
    assert all((a == b).all() for a, b in zip(mixed, expected, strict=True))


def test_no_graph_outlives_a_call_and_a_state_made_in_inference_mode_can_be_trained_on() -> None:
    """Kills: a state that keeps its history, so that the second backward pass fails or reaches into the first call."""
    model = make_model("omega")
    session = Session(model, batch=2)
    for seed in range(2):
        torch.autograd.backward(session(make_tokens(2, seed)).square().mean())
        assert all(tensor.grad_fn is None for tensor in session.get_memory_state().to_tensors().values())
    with torch.inference_mode():
        session(make_tokens(2, 3))
        thought = session.get_memory_state()
    session.set_memory_state(thought)
    torch.autograd.backward(session(make_tokens(2, 4)).square().mean())


@pytest.mark.parametrize("mode", ["train", "eval", "no_grad", "inference"])
def test_writes_are_the_same_in_every_mode(mode: str) -> None:
    """Kills: writes that happen in training only, as in one source system, or only where gradients are recorded."""
    model = make_model("atlas tnt truncate")
    expected = Session(model, batch=2)
    expected(make_tokens(2, 5))
    session = Session(model.train(mode == "train"), batch=2)
    with torch.inference_mode(mode == "inference"), torch.set_grad_enabled(mode in ("train", "eval")):
        session(make_tokens(2, 5))
    for name, tensor in expected.get_memory_state().to_tensors().items():
        assert torch.equal(tensor, session.get_memory_state().to_tensors()[name])


def test_a_state_of_another_model_is_refused_and_nothing_changes() -> None:
    session = Session(make_model("omega"), batch=2)
    read(session, seed=1)
    before = session.get_memory_state()
    with pytest.raises(UserError, match="state tensor 'layers"):
        session.set_memory_state(Session(make_model("titans convex degree 2"), batch=2).get_memory_state())
    assert session.get_memory_state() is before
