"""The judge finds the first divergence, and no error of a correct port is one."""

from collections.abc import Mapping
from functools import partial
from itertools import product

import numpy as np
import pytest

from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.outcome import DivergenceError, FormError
from spec_tests.drawing.inputs import generator
from spec_tests.port import PROFILES, Array, Declaration, Numerics, Op, Scalar
from spec_tests.ports.numpy import NumpyPort
from spec_tests.ports.reference import ReferencePort
from spec_tests.sampling import crossed, sample
from spec_tests.vectors import judge as judging
from spec_tests.vectors.case import Case, load_cases
from spec_tests.vectors.compare import by_step, distances, errors, steps_axis
from spec_tests.vectors.hint import Hint
from spec_tests.vectors.judge import check, judge, judge_answer
from spec_tests.vectors.ports import Changed, Stale

OPS = sorted({case.op for case in load_cases()})
FLOATING = [op for op in OPS if any(tensor.role != "index" for tensor in OPERATIONS[op].outputs)]
"""The operations whose answer holds a number that may not be finite: no integer is NaN."""
STEP = 5


def stored(op: Op, number: int = 0) -> Case:
    return load_cases(op=op)[number]


def sound_answer(case: Case, numerics: Numerics) -> dict[str, Array]:
    return case.question.put(ReferencePort(), numerics)


class KickedAtFive:
    """The recurrence in single tokens, whose momentum is doubled after the token of index 5; it shows no state."""

    def declare(self) -> Declaration:
        return ReferencePort().declare()

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        del taps
        ask = partial(ReferencePort().run, op, config, numerics=numerics, taps=frozenset())
        time = inputs["reset"].shape[1]
        timed = [tensor.name for tensor in OPERATIONS[Op(op)].inputs if "time" in tensor.axes]
        state, reads = dict(inputs), []
        for t in range(time):
            answer = ask({**state, **{name: inputs[name][:, t : t + 1] for name in timed}})
            reads.append(answer["reads"])
            state |= {name: value for name, value in answer.items() if name != "reads"}
            if t == STEP:
                state["momentum"] = 2.0 * state["momentum"]
        names = ("weights", "momentum", "anchor", "window_keys", "window_values", "position")
        return {"reads": np.concatenate(reads, 1), **{name: state[name] for name in names}}


@pytest.mark.parametrize(("op", "numerics"), crossed(OPS, PROFILES))
def test_both_oracles_pass_a_case_of_every_operation(op: Op, numerics: Numerics) -> None:
    for port in (ReferencePort(), NumpyPort("shuffled")):
        assert judge(port, stored(op), numerics).divergence is None


@pytest.mark.parametrize("op", [Op.MEMORY_SCAN, Op.MEMORY_CHUNKED])
def test_a_state_that_goes_wrong_in_one_tensor_at_one_step_is_reported_there_without_taps(op: Op) -> None:
    case = stored(op)
    for numerics in PROFILES:
        found = judge(KickedAtFive(), case, numerics).divergence
        assert found is not None
        assert (found.tensor, found.step) == ("momentum_trace", STEP)


@pytest.mark.parametrize(("op", "numerics"), sample(product((Op.MEMORY_SCAN, Op.MEMORY_CHUNKED), reversed(PROFILES))))
def test_the_words_of_a_divergence_name_tensor_and_step(op: Op, numerics: Numerics) -> None:
    with pytest.raises(DivergenceError, match=f"step {STEP}, tensor momentum_trace"):
        check(KickedAtFive(), stored(op), numerics)


def test_with_taps_the_tensors_upstream_are_named_as_equal() -> None:
    def kicked(answer: dict[str, Array]) -> dict[str, Array]:
        answer["momentum_trace"][1, STEP, 0] *= 1.1
        return answer

    found = judge(Changed(NumpyPort(), kicked), stored(Op.MEMORY_SCAN), Numerics.F32).divergence
    assert found is not None
    assert (found.tensor, found.step, found.index[:2]) == ("momentum_trace", STEP, (1, 0))
    assert found.upstream == ("gradient",)


def test_taps_that_a_port_does_not_show_are_named() -> None:
    case = stored(Op.MEMORY_SCAN)
    assert judge(NumpyPort(), case, Numerics.F64).untapped == ()
    assert judge(KickedAtFive(), case, Numerics.F64).untapped == ("gradient", "momentum_trace", "weights_trace")
    with pytest.raises(DivergenceError, match="not shown by the port: gradient, momentum_trace, weights_trace"):
        check(KickedAtFive(), case, Numerics.F64)


@pytest.mark.parametrize(("op", "bad"), crossed(FLOATING, (np.nan, np.inf)))
def test_a_value_that_is_not_finite_diverges_and_is_called_so(
    op: Op, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which fault comes nearest is asked in `test_hint`: it takes an answer with each fault of the operation.
    monkeypatch.setattr(judging, "seek", lambda *_: Hint("not sought"))

    def poisoned(answer: dict[str, Array]) -> dict[str, Array]:
        name = next(name for name in reversed(answer) if answer[name].dtype.kind == "f" and answer[name].size)
        answer[name].flat[-1] = bad
        return {name: answer[name]}

    with pytest.raises(DivergenceError, match="not finite"):
        check(Changed(ReferencePort(), poisoned), stored(op), Numerics.F32)


def test_the_answer_to_another_question_diverges() -> None:
    port = Stale(ReferencePort())
    first, second = stored(Op.MEMORY_STEP, 0), stored(Op.MEMORY_STEP, 2)
    assert judge(port, first, Numerics.F64).divergence is None
    assert judge(port, second, Numerics.F64).divergence is not None


def test_a_transposed_layout_diverges_or_has_another_shape() -> None:
    def transposed(answer: dict[str, Array]) -> dict[str, Array]:
        return {"orthogonal": np.ascontiguousarray(np.swapaxes(answer["orthogonal"], 1, 2))}

    for case in load_cases(op=Op.NEWTON_SCHULZ):
        rows, columns = case.inputs["matrix"].shape[1:]
        port = Changed(ReferencePort(), transposed)
        if rows != columns:
            with pytest.raises(FormError):
                judge(port, case, Numerics.F64)
        else:
            assert judge(port, case, Numerics.F64).divergence is not None


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("numerics", PROFILES)
def test_ten_budgets_fail_and_half_a_budget_passes_in_every_tensor(op: Op, numerics: Numerics) -> None:
    case = stored(op)
    for name, expected in case.expected.items():
        if expected.dtype.kind != "f" or not middle(case, name, numerics):
            continue
        for factor in (10.0, 0.5):
            answer = {**case.expected, name: moved(case, name, numerics, factor)}
            found = judge_answer(case, numerics, answer).divergence
            assert (found is not None) == (factor > 1.0), f"{name}: {factor} budgets"
            assert found is None or found.tensor == name


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("numerics", PROFILES)
def test_no_error_at_all_passes_in_a_number_that_has_no_budget_and_such_a_number_is_zero(
    op: Op, numerics: Numerics
) -> None:
    case = stored(op)
    for name, expected in case.expected.items():
        if expected.dtype.kind != "f" or not expected.size or middle(case, name, numerics):
            continue
        changed, axis = expected.astype(np.float64).copy(), steps_axis(op, name)
        step = by_step(changed, axis)[len(by_step(changed, axis)) // 2]
        assert not step.any(), name
        step[(-1,) * step.ndim] = np.finfo(np.float64).tiny
        found = judge_answer(case, numerics, {**case.expected, name: changed}).divergence
        assert found is not None, name
        assert found.tensor == name


def middle(case: Case, name: str, numerics: Numerics) -> float:
    """Return the budget of a tensor at its middle step; zero where it has none."""
    allowed = case.budgets[numerics][name]
    return float(allowed[len(allowed) // 2]) if case.expected[name].size else 0.0


def moved(case: Case, name: str, numerics: Numerics, factor: float) -> Array:
    """Return an expected tensor with an error of so many budgets at its middle step."""
    expected, axis = case.expected[name], steps_axis(case.op, name)
    changed = expected.astype(np.float64).copy()
    steps = by_step(changed, axis)
    at = len(steps) // 2
    noise, before = generator(len(name)).standard_normal(steps[at].shape), steps[at].copy()
    steps[at] = before + noise
    unit = errors(changed, expected, axis)[at]
    steps[at] = before + noise * factor * case.budgets[numerics][name][at] / unit
    assert distances(case.op, {name: changed}, {name: expected})[name][at] > 0.0
    return changed


def test_a_single_wrong_element_cannot_hide_in_a_large_tensor() -> None:
    expected = generator(1).standard_normal((4, 1000, 64))
    actual = expected.copy()
    actual[2, 500, 7] *= 1.0 + 1e-3
    whole = np.sqrt(((actual - expected) ** 2).mean() / (expected**2).mean())
    by_element = errors(actual, expected, 1)
    assert by_element.argmax() == 500
    assert by_element.max() > 20 * whole


def test_gradients_are_read_from_the_last_token_back() -> None:
    def cut(answer: dict[str, Array]) -> dict[str, Array]:
        answer["grad.values"][:, :3] = 0.0
        return {"grad.values": answer["grad.values"]}

    found = judge(Changed(ReferencePort(), cut), stored(Op.MEMORY_GRAD), Numerics.F64).divergence
    assert found is not None
    assert (found.tensor, found.step) == ("grad.values", 2)
