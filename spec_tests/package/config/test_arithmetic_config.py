"""Arithmetic and its network: what does not fit together is refused by a sentence that says what would."""

import pytest

from atlas_ref.config import load_config
from atlas_ref.errors import UserError
from spec_tests.package.micro.arithmetic import arithmetic_config, transformer_config

REFUSED = {
    "more pairs than there are": (
        ("train.batch_size=30",),
        "train.batch_size is 30; it must be at most 29, the pairs of data.arithmetic that are trained on",
    ),
    "a row of three": (("data.sequence_length=3",), "it must be 2 for data.source"),
    "another modulus": (("model.vocab_size=8",), "model.vocab_size is 8; it must be 7"),
    "text": (("data.source='shakespeare'",), 'it must be "arithmetic" for model.family = "perceptron"'),
    "a second stage": (("stage2.steps=3", "stage2.chunks=[2]"), "stage2.steps is 3; it must be 0"),
    "gates": (
        ("optim.polarisation_start=0.1", "optim.polarisation_end=0.1"),
        'it must be 0.0 for model.family = "perceptron", which has no gate',
    ),
    "an equals sign": (
        ("data.arithmetic.equals=true", "data.sequence_length=3", "model.vocab_size=8"),
        'data.arithmetic.equals is true; it must be false for model.family = "perceptron"',
    ),
    "no layers": (("model.hidden=[]",), "model.hidden is []; it must have one width at least"),
    "a layer of nothing": (("model.hidden=[0]",), "each at least 1 and at most 1000000"),
    "perp-grad on nothing": (
        ("optim.mugrokfast.perp_grad=true",),
        'optim.mugrokfast.perp_grad is true; it must be false for optim.name = "adamw"',
    ),
    "a family of none": (("model.family='cubic'",), 'it must be one of "cognate", "perceptron", "transformer"'),
    "samples": (("train.sample_interval=1",), 'it must be 0 for data.source = "arithmetic", which is not text'),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_a_sentence(name: str) -> None:
    overrides, sentence = REFUSED[name]
    with pytest.raises(UserError) as raised:
        arithmetic_config(*overrides)
    assert sentence in str(raised.value)


REFUSED_STREAM = {
    "a row without its sign": (("data.sequence_length=2",), "it must be 3 for data.source"),
    "a sign without a token": (("model.vocab_size=7",), "model.vocab_size is 7; it must be 8"),
    "too few positions": (("model.positions=2",), "model.positions is 2; it must be at least 3"),
    "heads": (("model.n_heads=3",), "model.d_model is 8; it must be a multiple of model.n_heads, which is 3"),
    "text": (("data.source='shakespeare'",), 'it must be "arithmetic" for model.family = "transformer"'),
}


@pytest.mark.parametrize("name", REFUSED_STREAM)
def test_what_does_not_fit_a_transformer_is_refused_by_a_sentence(name: str) -> None:
    overrides, sentence = REFUSED_STREAM[name]
    with pytest.raises(UserError) as raised:
        transformer_config(*overrides)
    assert sentence in str(raised.value)


@pytest.mark.parametrize("task", ["arithmetic", "relay", "sudoku"])
def test_stablemax_is_refused_where_the_loss_is_another(task: str) -> None:
    """Kills: a field that says nothing on other data."""
    with pytest.raises(
        UserError, match=rf'{task}\.probabilities is "stablemax"; it must be "softmax" for data\.source = "s'
    ):
        load_config("tiny", [f"data.{task}.probabilities='stablemax'"])


@pytest.mark.parametrize(("share", "trained"), [(0.6, 29), (1e-9, 1), (1 - 1e-9, 48)])
def test_a_share_leaves_a_pair_on_either_side(share: float, trained: int) -> None:
    """Kills: nothing to train on; nothing to validate on; a share that is cut off instead of rounded."""
    config = arithmetic_config(f"data.arithmetic.share={share}", "train.batch_size=1")
    assert config.data.arithmetic.trained == trained
