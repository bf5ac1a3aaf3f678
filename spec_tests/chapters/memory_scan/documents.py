"""Calls whose rows hold several documents, and what the tests of the recurrence say of one row."""

from typing import Final

from spec_tests.chapters.memory_step.calls import case
from spec_tests.chapters.memory_step.loop import STATE, TOKENS, Config
from spec_tests.contract.driver import Result, assert_close
from spec_tests.contract.properties import Inputs, unchanged
from spec_tests.port import Array

STARTS: Final = ((0, 6), (1, 9))
"""Rows of `in_documents`, each with the first token of its last document."""


def in_documents(config: Config, seed: int) -> dict[str, Array]:
    """Return three rows of 14 tokens: a document of one token at 5 and one from 6 on, one from 9 on, no reset."""
    inputs = case(config, batch=3, time=14, window=4, seed=seed)
    inputs["reset"][:] = 0
    inputs["reset"][0, 5], inputs["reset"][0, 6], inputs["reset"][1, 9] = 1, 1, 1
    return inputs


def assert_row(result: Result, before: Result, row: int, start: int, what: str) -> None:
    """Assert that a row reads the same from token `start` on and ends in the same state."""
    last = result["reads"].shape[1] - before["reads"].shape[1]
    reads, wanted = result["reads"][row, start + last :], before["reads"][row, start:]
    assert_close(reads, wanted, unchanged(before, "reads"), f"{result.op} reads {what}")
    for name in STATE:
        same = unchanged(before, name)
        assert_close(result[name][row], before[name][row], same, f"{result.op} {name} {what} in {result.numerics}")


def with_tokens_from(inputs: Inputs, other: Inputs, where: slice) -> dict[str, Array]:
    """Return `inputs` with the tokens of `where`, their reset marks included, replaced by those of `other`."""
    changed = dict(inputs)
    for name in TOKENS:
        changed[name] = inputs[name].copy()
        changed[name][:, where] = other[name][:, where]
    return changed
