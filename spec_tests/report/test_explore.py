"""A run that explores says what it drew from, and draws the same again from that."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from hypothesis import strategies as st

from spec_tests.drawing.inputs import draw_afresh, generator
from spec_tests.drawing.strategies import hold
from spec_tests.port import Array, Numerics, Scalar
from spec_tests.process.example import ExamplePort
from spec_tests.report.launch import Launch
from spec_tests.report.manifest import SUITE
from spec_tests.report.model import Report
from spec_tests.sampling import sample

CHAPTER: Final = str(SUITE / "chapters" / "normalize" / "test_normalize.py")
NODE: Final = f"{CHAPTER}::test_huge_and_tiny_vectors_keep_their_direction"
NAME: Final = "spec_tests.report.test_explore:Tells"

pytestmark = pytest.mark.usefixtures("warm")


class Tells(ExamplePort):
    """A port that fails with a digest of what it is given first."""

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Raise."""
        raise ValueError(f"given {inputs['x'].sum():.9g}")


@pytest.fixture
def gate() -> Iterator[None]:
    """The numbers of the gate, once more, when the test ends."""
    yield
    draw_afresh(0)


def explored(folder: Path, *options: str) -> Report:
    assert Launch(NAME, [f"--report={folder}", "--numerics=f32", *options], jobs="1", cases=(NODE,)).run() == 1
    return Report.model_validate_json((folder / "report.json").read_text())


def reasons(found: Report) -> set[str]:
    return {each.reason for each in found.results if each.reason.startswith("l2_normalize")}


def test_a_run_that_explores_prints_its_seed_and_draws_the_same_again_with_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = explored(tmp_path / "first", "--explore")
    assert first.seed is not None
    assert f"--explore --seed {first.seed}" in capfd.readouterr().out
    again = explored(tmp_path / "again", "--explore", f"--seed={first.seed}")
    assert again.seed == first.seed
    assert len(reasons(first)) == 1
    assert reasons(first) == reasons(again)
    assert all(f"--explore --seed {first.seed}" in each.rerun for each in again.results if each.rerun)


@pytest.mark.parametrize(
    "words", sample(["--seed=0 --explore", "--seed=3", "--seed=-1 --explore", "--seed=x --explore"])
)
def test_a_seed_that_means_nothing_is_wrong_usage(words: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert Launch(NAME, words.split(), jobs="1", cases=(NODE,)).run() == 2
    assert capfd.readouterr().err.startswith(f"Error: --seed {words.split()[0].partition('=')[2]}: ")


def test_the_numbers_of_another_run_are_other_numbers_and_those_of_none_are_the_gate_s(gate: None) -> None:
    own = np.random.Generator(np.random.Philox(key=7)).standard_normal(4)
    draws = {}
    for run in (0, 1, 2, 1 << 62):
        draw_afresh(run)
        draws[run] = generator(7).standard_normal(4)
    np.testing.assert_array_equal(draws.pop(0), own)
    assert len({draw.tobytes() for draw in (own, *draws.values())}) == 4


def test_what_hypothesis_draws_depends_on_the_seed_of_the_run_alone(gate: None) -> None:
    def drawn(run: int) -> list[int]:
        found: list[int] = []
        draw_afresh(run)
        hold(st.integers(0, 1 << 60), found.append)
        return found

    first, other = drawn(1), drawn(2)
    assert first != other
    assert drawn(1) == first
