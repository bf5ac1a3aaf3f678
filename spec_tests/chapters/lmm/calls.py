"""Configurations of LMM; its inputs are made as those of MAL (`spec_tests.chapters.mal.calls`)."""

from spec_tests.port import Scalar


def config(**changes: Scalar) -> dict[str, Scalar]:
    """Return a configuration: chunks of two, a floor under the gate."""
    usual: dict[str, Scalar] = {"chunk": 2, "floor": 0.2, "inner_grad": "full"}
    return {**usual, **changes}
