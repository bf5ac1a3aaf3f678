"""A certificate holds for the chunks that the gates served the memory in, and says so."""

import pytest

from preflight.certificate import examined
from spec_tests.preflight.test_certificate import binding


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ((), "examined in chunks of 8 tokens"),
        (("model.memory.chunk=4", "model.memory.step_chunk=8"), "examined in chunks of 4 tokens"),
        (
            ("stage2.steps=3", "stage2.chunks=[2]"),
            "examined in chunks of 8 tokens; not in those of its second stage, 2",
        ),
        (
            (
                "model.memory.kind='hierarchical'",
                "model.memory.hierarchy.local_chunks=[4]",
                "model.memory.hierarchy.local_shards=[16]",
            ),
            "examined in chunks of 8 and 4 tokens",
        ),
    ],
)
def test_a_certificate_says_in_which_chunks_it_was_examined(overrides: tuple[str, ...], said: str) -> None:
    """Kills: the chunk of the steps for that of the memory; a second stage that counts as examined."""
    assert examined(binding(*overrides)) == said
