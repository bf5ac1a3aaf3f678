"""Arithmetic and its network: what does not fit together is refused by a sentence that says what would."""

import pytest

from atlas_ref.config import load_config
from atlas_ref.errors import UserError
from spec_tests.package.micro.arithmetic import arithmetic_config

REFUSED = {
    "more pairs than there are": (
        ("train.batch_size=30",),
        "train.batch_size is 30; it must be at most 29, the pairs of data.arithmetic that are trained on",
    ),
    "a row of three": (("data.sequence_length=3",), "it must be 2 for data.source"),
    "another modulus": (("model.vocab_size=8",), "model.vocab_size is 8; it must be 7"),
    "text": (("data.source='shakespeare'",), 'it must be "arithmetic" for model.family = "quadratic"'),
    "a second stage": (("stage2.steps=3", "stage2.chunks=[2]"), "stage2.steps is 3; it must be 0"),
    "gates": (
        ("optim.polarisation_start=0.1", "optim.polarisation_end=0.1"),
        'it must be 0.0 for model.family = "quadratic", which has no gate',
    ),
    "a family of none": (("model.family='cubic'",), 'it must be one of "cognate", "quadratic"'),
    "samples": (("train.sample_interval=1",), 'it must be 0 for data.source = "arithmetic", which is not text'),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_a_sentence(name: str) -> None:
    overrides, sentence = REFUSED[name]
    with pytest.raises(UserError) as raised:
        arithmetic_config(*overrides)
    assert sentence in str(raised.value)


def test_arithmetic_is_refused_for_a_model_of_another_family() -> None:
    with pytest.raises(UserError, match=r'must be another one unless model\.family = "quadratic"'):
        load_config("tiny", ["data.source='arithmetic'", "data.sequence_length=2", "model.vocab_size=97"])


@pytest.mark.parametrize(("share", "trained"), [(0.6, 29), (1e-9, 1), (1 - 1e-9, 48)])
def test_a_share_leaves_a_pair_on_either_side(share: float, trained: int) -> None:
    """Kills: nothing to train on; nothing to validate on; a share that is cut off instead of rounded."""
    config = arithmetic_config(f"data.arithmetic.share={share}", "train.batch_size=1")
    assert config.data.arithmetic.trained == trained
