"""The call of one token in buffers is the call of one token, and asks the host for nothing.

What a GPU records is run here as it is. Every test names the fault that was put into the program by hand and that it
caught.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.config.transformer import TransformerConfig
from atlas_ref.errors import UserError
from atlas_ref.functional.looking import UnseenError, unseen
from atlas_ref.generation.generate import Generated, Start, generate, read_prompt
from atlas_ref.generation.graphed import Decoder, decoder_of
from atlas_ref.generation.sampling import Sampling, stream
from atlas_ref.memory.state import StateTree
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.models.family import Model
from atlas_ref.models.transformer import TransformerModel
from spec_tests.package.micro import arithmetic, cognate, models

LENGTH, COUNT = 2, 17
"""Of a prompt and of what follows it: from before windows are full to past the ends of chunks, shards and segments."""


def transformer() -> TransformerModel:
    settings = arithmetic.transformer_config("model.positions=40").any_model
    assert isinstance(settings, TransformerConfig)
    return TransformerModel(settings, seed=3).double()


def hierarchy() -> AtlasModel:
    local = ("model.memory.kind='hierarchical'", "model.memory.hierarchy.local_chunks=[2]")
    return models.make_model("omega", *local, "model.memory.hierarchy.local_shards=[6]")


OTHERS: dict[str, Callable[[], Model]] = {
    "transformer": transformer,
    "perceptron": arithmetic.make_model,
    "hierarchy": hierarchy,
}
EVERY: dict[str, Callable[[], Model]] = {
    **{name: partial(models.make_model, name) for name in models.VARIANTS},
    **{f"cognate {name}": partial(cognate.make_model, name) for name in cognate.VARIANTS},
    **OTHERS,
}
QUICK = ("omega", "omega tnt every 3 in shards", "mac", "mag with persistent tokens in memory", "cognate separate")


def start_of(model: Model) -> Start:
    tokens = np.random.default_rng(2).integers(0, model.config.vocab_size, LENGTH).tolist()
    return read_prompt(model, tokens)


def by_decoder(decoder: Decoder, start: Start, sampling: Sampling, seed: int) -> list[Generated]:
    random, made = stream(seed), []
    decoder.load(start.state, start.logits)
    for _ in range(COUNT):
        made.append(Generated(*decoder.draw(sampling, random)))
        decoder.advance()
    return made


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.exhaustive) for name in EVERY]
)
def test_a_decoder_makes_the_tokens_and_logits_of_the_plain_way(name: str) -> None:
    """Kills: a buffer that is not overwritten, or before it is read; a row that begins nothing where it stands; the
    state of the sample before."""
    start = start_of(EVERY[name]())
    decoder = Decoder(start.model, None, None)
    for seed, sampling in ((1, Sampling()), (2, Sampling(0.7, 5, 0.9))):
        plain = list(generate(start, COUNT, sampling, stream(seed)))
        found = by_decoder(decoder, start, sampling, seed)
        assert [made.token for made in found] == [made.token for made in plain]
        for one, other in zip(found, plain, strict=True):
            torch.testing.assert_close(one.logits, other.logits, rtol=1e-10, atol=1e-10)


LOOKS = {"aten::item", "aten::nonzero", "aten::is_nonzero", "aten::equal", "aten::masked_select", "aten::lift_fresh"}
"""Operations that give the host a number, and the one that makes a tensor of the host's numbers."""


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.exhaustive) for name in EVERY]
)
def test_a_token_is_made_and_drawn_without_a_look_at_any_number(name: str) -> None:
    """Kills: a question about positions, documents or finiteness that is asked in the call of one token; a constant
    that is made anew in each call."""
    start = start_of(EVERY[name]())
    decoder = Decoder(start.model, None, None)
    decoder.load(start.state, start.logits)
    decoder.draw(Sampling(0.7, 5, 0.9), stream(1))
    with torch.inference_mode(), torch.autograd.profiler.profile() as done:
        decoder.advance()
        decoder._draws[Sampling(0.7, 5, 0.9)]()
    names = {event.name for event in done.function_events}
    assert "aten::embedding" in names
    assert "aten::searchsorted" in names
    assert names & LOOKS == set()


@dataclass(frozen=True)
class Pair(StateTree):
    """The last two tokens."""

    newer: Tensor
    older: Tensor


class Told(NamedTuple):
    logits: Tensor
    state: Pair
    telemetry: tuple[()] = ()
    indecision: None = None


class AfterThePair(Model):
    """Is sure of the sum of the last two tokens, modulo 7; its state goes on from one place to the other."""

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("scale", torch.nn.Parameter(torch.ones(())))

    def initial_state(self, batch: int) -> Pair:
        none = torch.zeros(batch, dtype=torch.long)
        return Pair(none, none)

    def forward(self, tokens: Tensor, state: Pair, *others: object, **named: object) -> Told:
        newest = tokens[:, -1]
        sums = (newest + state.newer) % 7
        return Told(torch.nn.functional.one_hot(sums, 7).double()[:, None] * 99.0, Pair(newest.clone(), state.newer))


def test_a_state_that_moves_from_place_to_place_is_read_before_it_is_overwritten() -> None:
    """Kills: a buffer that is overwritten by one that has been overwritten already."""
    model = AfterThePair()
    decoder = Decoder(model, None, None)
    decoder.load(Pair(torch.tensor([2]), torch.tensor([1])), torch.nn.functional.one_hot(torch.tensor(3), 7).double())
    found = []
    for _ in range(6):
        found.append(decoder.draw(Sampling(0.0), stream(1))[0])
        decoder.advance()
    assert found == [3, 5, 1, 6, 0, 6]
    state = decoder._state.to_tensors()
    assert (int(state["older"]), int(state["newer"])) == (0, 6)


def test_what_cannot_be_told_unseen_is_refused_and_not_guessed() -> None:
    """Kills: a layout of several tokens that takes all rows to be at the start of a chunk."""
    model = models.make_model("omega")
    with unseen(), pytest.raises(UnseenError, match="where rows begin documents and chunks cannot be told"):
        model(torch.zeros(1, 2, dtype=torch.long), model.initial_state(1), None)


def test_two_samples_at_once_are_those_made_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: two texts in one buffer; a decoder that is not given back, by a text that is not read to its end too."""
    start = start_of(models.make_model("omega"))
    decoder = Decoder(start.model, None, None)
    asked: list[bool] = []
    take = decoder.take

    def noted() -> bool:
        asked.append(take())
        return asked[-1]

    monkeypatch.setattr(decoder, "take", noted)
    monkeypatch.setattr("atlas_ref.generation.generate.decoder_of", lambda *_: decoder)
    alone = [[made.token for made in generate(start, 9, Sampling(), stream(4, number))] for number in range(2)]
    both = zip(*(generate(start, 9, Sampling(), stream(4, number)) for number in range(2)), strict=True)
    assert [list(tokens) for tokens in zip(*([a.token, b.token] for a, b in both), strict=True)] == alone
    next(generate(start, 9, Sampling(), stream(1)))
    assert [made.token for made in generate(start, 9, Sampling(), stream(4, 1))] == alone[1]
    assert asked == [True, True, True, False, True, True]


def test_a_text_that_may_not_fit_the_places_is_refused_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a place beyond the learned ones that is looked up unseen."""
    start = start_of(transformer())
    decoder = Decoder(start.model, None, None)
    monkeypatch.setattr("atlas_ref.generation.generate.decoder_of", lambda *_: decoder)
    assert start.model.room(start.state) == 40 - LENGTH
    with pytest.raises(UserError, match="a document has more than 40 tokens"):
        list(generate(start, 60, Sampling(), stream(1)))


def test_there_is_no_decoder_without_a_gpu() -> None:
    """Kills: buffers on a CPU, where a call by itself is as fast."""
    assert decoder_of(models.make_model("omega"), None, None, 1000) is None
