"""A certificate says what PASS means: a measured share where only a memory can know the answers, none elsewhere."""

from pathlib import Path

import pytest

import atlas_ref
from atlas_ref.config import load_config
from preflight.certificate import bind, issue
from preflight.meaning import OUT_OF_SIGHT, STUDY, TEXT, UNKNOWN, meaning_of
from preflight.subject import Budget


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("recall", OUT_OF_SIGHT),
        ("omega-micro", OUT_OF_SIGHT),
        ("tiny", TEXT),
        ("relay", "whether the task will be learned is not known"),
        ("grok-square", "whether the task will be learned is not known"),
    ],
)
def test_a_certificate_promises_what_was_measured_and_says_what_was_not(preset: str, words: str) -> None:
    """Kills: a share that is told of a text, or of a family, that it was not measured on."""
    config = load_config(preset)
    meaning = issue(bind(config, "cpu", "healthy"), 0, Budget(1, 2, 64, 2), []).meaning
    assert meaning == meaning_of(config)
    assert words in meaning
    assert meaning.endswith(UNKNOWN)
    assert (STUDY.told() in meaning) == (words == OUT_OF_SIGHT)


def test_the_share_is_the_one_that_the_guide_tells() -> None:
    """Kills: numbers of an earlier study in the certificate, or in the guide."""
    guide = Path(atlas_ref.__file__).parents[1] / "docs" / "preflight.md"
    assert STUDY.told() in " ".join(guide.read_text().split())
