"""The hint names the fault that a port has, when the port is written in another way than the faults are."""

import numpy as np
import pytest

from spec_tests.contract.outcome import DivergenceError
from spec_tests.drawing.inputs import generator
from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.faults.fault import Fault, FaultyPort
from spec_tests.port import Array, Numerics, Op
from spec_tests.ports.numpy import NumpyPort
from spec_tests.ports.reference import ReferencePort
from spec_tests.sampling import marks_of
from spec_tests.vectors.case import Case, load_cases
from spec_tests.vectors.hint import candidates, nearest_fault, ranking
from spec_tests.vectors.judge import check, judge
from spec_tests.vectors.ports import Changed

FAULTS = (
    "ns-one-step-less",
    "conv-filter-reversed",
    "att-without-scale",
    "qk-strictly-past",
    "m3-swapped",
    "rule-ascent",
    "rule-mass-without-horizon",
    "mem-anchor-moved-late",
    "win-gamma-reversed",
    "chunk-phase-of-the-call",
)


def fault_named(name: str) -> Fault:
    return next(fault for fault in CATALOGUE if fault.id == name)


def killed_by(fault: Fault) -> Case:
    return next(case for case in load_cases(op=fault.op) if fault.id in case.kills)


# The window's fault is asked with every other form of the memory, which takes longer than the nine others together.
@pytest.mark.parametrize("name", [pytest.param(name, marks=marks_of(name != "win-gamma-reversed")) for name in FAULTS])
def test_the_right_fault_is_ranked_first_over_another_implementation(name: str) -> None:
    fault = fault_named(name)
    case = killed_by(fault)
    port = FaultyPort(NumpyPort("shuffled"), fault, Numerics.F32)
    nearest = nearest_fault(case, judge(port, case, Numerics.F32).answer)
    assert nearest is not None
    assert name in nearest.names
    with pytest.raises(DivergenceError, match=rf"nearest seeded fault: .*{name}") as raised:
        check(port, case, Numerics.F32)
    assert raised.value.divergence.hint == nearest.names[0]
    assert raised.value.divergence.similarity == nearest.similarity


def test_an_error_like_no_fault_gets_no_hint() -> None:
    case = load_cases(op=Op.SLIDING_WINDOW_ATTENTION)[0]
    noise = generator(1).standard_normal(case.expected["output"].shape)
    port = Changed(NumpyPort(), lambda answer: {"output": answer["output"] + 0.1 * noise})
    with pytest.raises(DivergenceError, match="none resembles it") as raised:
        check(port, case, Numerics.F64)
    assert raised.value.divergence.hint is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_hint_is_sought_for_an_answer_that_is_not_finite(bad: float) -> None:
    """Kills: a cosine that is not a number, by which faults are ranked in any order."""
    fault = fault_named("att-without-scale")
    case = killed_by(fault)

    def poisoned(answer: dict[str, Array]) -> dict[str, Array]:
        answer["output"].flat[-1] = bad
        return answer

    port = Changed(FaultyPort(ReferencePort(), fault, Numerics.F64), poisoned)
    ranked = ranking(case, judge(port, case, Numerics.F64).answer)
    assert fault.id in {name for name, _, _ in ranked}
    assert all(np.isfinite([cosine, score]).all() for _, cosine, score in ranked)


def test_a_fault_of_another_form_of_the_memory_is_possible_too() -> None:
    found = {fault.id for fault in candidates(Op.MEMORY_CHUNKED)}
    assert {"rule-ascent", "win-gamma-late", "win-gamma-reversed"} <= found
    assert not any(fault.startswith("ns-") for fault in found)


def test_a_form_that_is_asked_for_gradients_may_have_the_faults_of_gradients() -> None:
    own = {fault.id for fault in CATALOGUE if fault.op is Op.MEMORY_GRAD}
    found = {fault.id for fault in candidates(Op.MEMORY_CHUNKED)}
    assert own
    assert own <= found
