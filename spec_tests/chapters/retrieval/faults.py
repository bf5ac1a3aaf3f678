"""Faults of the verifier's statistics."""

from typing import Final

import numpy as np

from spec_tests.chapters.retrieval.oracle import answer, interval
from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, with_inputs, with_outputs
from spec_tests.port import Op

TEST: Final = "test_retrieval:test_accuracies_and_gain_are_means_over_answers_with_the_interval_of_rows"
EQUAL: Final = "test_retrieval:test_rows_of_equal_length_have_the_interval_of_their_means"
BEYOND: Final = "source: what is judged is not what was asked for"
NARROW: Final = "misreading: answers of one memory taken for independent"


def _all_asked(_: Config, x: Arrays) -> Arrays:
    return {"asked": np.ones_like(x["asked"])}


def _by_rows(_: Config, x: Arrays, __: Arrays) -> Arrays:
    """The mean of the means of rows."""
    means = [float(r[a != 0].mean()) for r, a in zip(x["right"], x["asked"], strict=True) if a.any()]
    return {"stored": interval([[mean] for mean in means])}


def _relative(_: Config, __: Arrays, y: Arrays) -> Arrays:
    return {"gain": y["gain"] / max(float(y["skipped"][0]), 1e-3)}


def _answers_apart(_: Config, x: Arrays, y: Arrays) -> Arrays:
    """Every answer counts as drawn by itself."""
    alone = {name: x[name].reshape(-1, 1) for name in ("right", "without", "asked")}
    return answer({name: marks[alone["asked"][:, 0] != 0] for name, marks in alone.items()})


def _unpaired(_: Config, __: Arrays, y: Arrays) -> Arrays:
    """The interval of the gain from those of both accuracies, as if of other answers."""
    half = np.hypot(*(y[name][2] - y[name][0] for name in ("stored", "skipped")))
    return {"gain": np.array([y["gain"][0], y["gain"][0] - half, y["gain"][0] + half])}


def _swapped(_: Config, x: Arrays, __: Arrays) -> Arrays:
    return answer({**x, "right": x["without"], "without": x["right"]})


def _f(name: str, clause: str, wrap: Wrap, origin: str) -> Fault:
    return Fault(f"retrieval-{name}", clause, Op.RETRIEVAL_GAIN, TEST, wrap, origin)


FAULTS: Final[tuple[Fault, ...]] = (
    _f("beyond-what-is-asked", "RETR-1a", with_inputs(_all_asked), BEYOND),
    _f("rows-alike", "RETR-1b", with_outputs(_by_rows), "misreading: which mean"),
    _f("loss-for-gain", "RETR-2", with_outputs(_swapped), "misreading: which side of the difference"),
    _f("gain-as-a-ratio", "RETR-2", with_outputs(_relative), "misreading: which side of the difference"),
    Fault("retrieval-answers-independent", "RETR-3a", Op.RETRIEVAL_GAIN, EQUAL, with_outputs(_answers_apart), NARROW),
    _f("unpaired", "RETR-3b", with_outputs(_unpaired), NARROW),
)
