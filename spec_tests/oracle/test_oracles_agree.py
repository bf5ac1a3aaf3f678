"""Two implementations that share no line, torch with autograd and numpy with complex steps, agree in float64."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import pytest

from spec_tests.chapters.memory_chunked.grid import cotangents
from spec_tests.chapters.memory_chunked.oracle import Chunks
from spec_tests.chapters.memory_grad.adjoint import Adjoint
from spec_tests.chapters.memory_grad.oracle import FORMS
from spec_tests.chapters.memory_step.calls import case, every_rule, rule, token, worst
from spec_tests.chapters.memory_step.loop import Oracle
from spec_tests.chapters.miras_chunked.oracle import Closed
from spec_tests.chapters.miras_scan.calls import case as miras_case
from spec_tests.chapters.miras_scan.grid import cells
from spec_tests.chapters.miras_scan.loop import Miras
from spec_tests.contract.driver import ask, prepare
from spec_tests.contract.operations import OPERATIONS
from spec_tests.drawing.inputs import generator, positions
from spec_tests.oracle import complex_step
from spec_tests.oracle.sums import FORWARD, ORDERS, Order, Sums
from spec_tests.port import Array, Numerics, Op, Scalar
from spec_tests.ports.numpy import NumpyPort
from spec_tests.ports.reference import ReferencePort
from spec_tests.vectors.case import load_cases

AGREED: Final = 1e-12
"""Largest difference between the two, relative to the largest entry of an array."""
ROUNDING: Final = 4.0 * np.finfo(float).eps
"""Largest entry of an array that is nothing in both, relative to that of all: gradients through a softmax of one."""
ADAMW: Final[dict[str, Scalar]] = {
    "optimizer": "adamw",
    "learning_rate": 1e-2,
    "beta1": 0.9,
    "beta2": 0.95,
    "eps": 1e-8,
}


@dataclass(frozen=True)
class Question:
    """A configuration and the lengths of the axes; `changes` replaces inputs that are not just normal numbers."""

    op: Op
    config: Mapping[str, Scalar]
    axes: Mapping[str, int]
    changes: Callable[[dict[str, Array], np.random.Generator], dict[str, Array]] = field(default=lambda x, _: {})

    def inputs(self, seed: int) -> dict[str, Array]:
        """Return every input of the operation."""
        rng = generator(seed)
        drawn = {}
        for tensor in OPERATIONS[self.op].inputs:
            shape = [self.axes[axis] if not axis.endswith("-1") else self.axes[axis[:-2]] - 1 for axis in tensor.axes]
            is_position = tensor.name == "position"
            drawn[tensor.name] = positions(shape[0], shape[1], seed) if is_position else rng.standard_normal(shape)
        return drawn | self.changes(drawn, rng)


def _positive(*names: str) -> Callable[[dict[str, Array], np.random.Generator], dict[str, Array]]:
    return lambda x, rng: {name: rng.uniform(0.1, 0.9, x[name].shape) for name in names}


def primitives() -> Iterator[Question]:
    for name in ("quintic", "cubic", "polar_express"):
        for rows, columns in ((3, 5), (5, 3), (1, 4)):
            axes = {"batch": 2, "rows": rows, "columns": columns}
            yield Question(Op.NEWTON_SCHULZ, {"coefficients": name, "steps": 3}, axes)
    for basis in ("monomial_weighted", "monomial", "kronecker", "elementwise"):
        for dim, degree in ((4, 3), (1, 2), (5, 1)):
            axes = {"batch": 3, "dim": dim, "degree": degree}
            yield Question(Op.POLYNOMIAL_FEATURES, {"basis": basis}, axes, _positive("coefficients"))
    for eps in (1e-6, 0.5):
        yield Question(Op.L2_NORMALIZE, {"eps": eps}, {"batch": 3, "dim": 5})
    for kernel in (1, 4):
        yield Question(Op.SHORT_CONV, {}, {"batch": 2, "time": 9, "channels": 3, "kernel": kernel})
    heads = {"batch": 2, "time": 7, "heads": 2, "dim": 4}
    yield Question(Op.QK_PROJECTION, {}, heads)
    yield Question(Op.QK_GATE, {}, heads, _positive("frobenius"))
    for window, tokens in ((3, 2), (1, 0), (9, 1)):
        axes = {**heads, "window": window, "tokens": tokens}
        yield Question(Op.SLIDING_WINDOW_ATTENTION, {"window": window}, axes)
    crossings = partial(_crossings, 4)
    yield Question(Op.M3_MIX, {"warmup_crossings": 4}, {"batch": 3, "rows": 2, "columns": 3}, crossings)


def _crossings(warmup: int, _: dict[str, Array], __: np.random.Generator) -> dict[str, Array]:
    return {"crossings": np.array([0, warmup - 1, warmup + 2])}


def _permutations(x: dict[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    count, numbers = x["permutations"].shape
    return {"permutations": np.array([rng.permutation(numbers) for _ in range(count)])}


def around() -> Iterator[Question]:
    tokens = {"batch": 2, "time": 7, "dim": 3}
    yield Question(Op.STABLEMAX, {}, {"batch": 3, "dim": 6})
    yield Question(Op.LTM_SCAN, {"decay": 0.7}, tokens)
    for kind in ("source", "convex"):
        yield Question(Op.MAG_GATE, {"kind": kind, "floor": 0.2}, tokens)
    yield Question(Op.ACT_HALT, {"threshold": 0.9}, {"batch": 4, "steps": 5}, _positive("probabilities"))
    yield Question(Op.FOURIER_CONCENTRATION, {"top": 2}, {"numbers": 11, "dim": 4})


def without_gradients() -> Iterator[Question]:
    """Yield operations that nobody differentiates."""
    axes = {"numbers": 11, "dim": 4, "permutations": 3}
    yield Question(Op.CIRCULAR_FIT, {}, axes, _permutations)
    yield Question(Op.OPTIMIZER_STEP, {**ADAMW, "eps": 1e-8, "weight_decay": 0.1}, {"steps": 6, "dim": 3})
    muon: dict[str, Scalar] = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.1, "coefficients": "quintic"}
    for rows, columns in ((3, 5), (5, 3)):
        axes = {"rows": rows, "columns": columns}
        yield Question(Op.MUON_STEP, {**muon, "newton_schulz_steps": 5}, axes)
        yield Question(Op.PERP_GRAD, {"rescale": rows > columns}, axes)
    yield Question(Op.GROKFAST, {"alpha": 0.9, "strength": 2.0}, {"steps": 6, "dim": 3})
    axes = {"batch": 2, "time": 4, "heads": 3, "dim": 4, "model": 5}
    yield Question(Op.QK_CLIP, {"threshold": 1.5}, axes)


def both(op: Op, config: Mapping[str, Any], given: Mapping[str, Array]) -> list[dict[str, Array]]:
    """Return what the two answer, with every tap that the operation has; Gram matrices for features."""
    taps = frozenset(tensor.name for tensor in OPERATIONS[op].taps)
    answers = [dict(ask(port, op, config, given, Numerics.F64, taps)) for port in (ReferencePort(), NumpyPort())]
    for answer in answers:
        if op is Op.POLYNOMIAL_FEATURES:
            # The order of features is the port's own.
            answer["features"] = answer["features"] @ answer["features"].T
    return answers


def assert_agreed(answers: list[dict[str, Array]], what: str) -> None:
    first, second = answers
    assert set(first) == set(second)
    largest = max(np.abs(value).max(initial=0.0) for value in first.values())
    for name in first:
        with np.errstate(invalid="ignore"):
            error = worst({name: second[name]}, {name: first[name]})
        # What is nothing by itself has no scale of its own: what is left of it is the rounding of its terms.
        size = np.max([np.abs(answer[name]).max(initial=0.0) for answer in answers])
        nothing = size <= ROUNDING * largest < np.inf
        assert error <= AGREED or nothing, f"{what} {name}: apart by {error:.3g}"


@pytest.mark.parametrize("wrong", [1e-12, np.nan, np.inf])
@pytest.mark.parametrize("other", [0.0, 1e-16])
def test_what_is_nothing_in_one_answer_is_no_more_than_rounding_in_the_other(wrong: float, other: float) -> None:
    """Kills: any answer let through where the other is nothing; a NaN that Python's own `max` passes over."""
    scale, few = np.array([3.0, -1.0]), np.zeros(2)
    assert_agreed([{"a": scale, "b": few + 2e-16}, {"a": scale, "b": few + other}], "rounding")
    for answers in ([few + other, few + wrong], [few + wrong, few + other]):
        with pytest.raises(AssertionError, match="b: apart by"):
            assert_agreed([{"a": scale, "b": each} for each in answers], "wrong")


@pytest.mark.parametrize("questions", [primitives, around, without_gradients])
def test_primitives_agree_in_every_configuration(questions: Callable[[], Iterator[Question]]) -> None:
    for seed, question in enumerate(questions()):
        given = prepare(question.op, Numerics.F64, question.inputs(seed), question.config)
        assert_agreed(both(question.op, question.config, given), f"{question.op} {dict(question.config)}")


@pytest.mark.parametrize("questions", [primitives, around])
def test_gradients_of_primitives_agree_in_every_configuration(questions: Callable[[], Iterator[Question]]) -> None:
    for seed, question in enumerate(questions()):
        given = prepare(question.op, Numerics.F64, question.inputs(seed), question.config)
        answers = []
        for port in (ReferencePort(), NumpyPort()):
            outputs = ask(port, question.op, question.config, given, Numerics.F64)
            rng = generator(seed + 100)
            floats = sorted(name for name, value in outputs.items() if value.dtype.kind == "f")
            asked = {name: rng.standard_normal(outputs[name].shape) for name in floats}
            if question.op is Op.POLYNOMIAL_FEATURES:
                # A cotangent made of the features themselves stands in their order.
                weight = generator(seed + 200).standard_normal((len(outputs["features"]),) * 2)
                asked = {"features": weight @ outputs["features"]}
            cotangent = {f"cotangent.{name}": value for name, value in asked.items()}
            outputs = ask(port, question.op, question.config, {**given, **cotangent}, Numerics.F64)
            answers.append({name: value for name, value in outputs.items() if name.startswith("grad.")})
        assert any(value.any() for value in answers[0].values())
        assert_agreed(answers, f"{question.op} {dict(question.config)}")


def memories() -> Iterator[dict[str, Scalar]]:
    """Yield every rule with every memory and step scale, the other keys varied."""
    for n, (scale, config) in enumerate((s, c) for s in ("literal", "mass") for c in every_rule(step_scale=s)):
        chunk, boundary, read = (1, 3, 4)[n % 3], ("carry", "truncate")[n // 2 % 2], ("post", "pre")[n // 3 % 2]
        loss_scale = (0.5, 1.0)[n // 5 % 2]
        varied: dict[str, Scalar] = {"chunk": chunk, "boundary": boundary, "read": read, "loss_scale": loss_scale}
        yield {**config, **varied, "step_scale": scale}


@pytest.mark.parametrize("op", [Op.MEMORY_SCAN, Op.MEMORY_CHUNKED, Op.MEMORY_GRAD])
def test_the_memory_agrees_in_outputs_taps_and_gradients(op: Op) -> None:
    for seed, config in enumerate(memories()):
        inputs = case(config, time=7, window=3, seed=seed, document=4)
        wanted = {} if op is Op.MEMORY_CHUNKED else cotangents(inputs, seed)
        asked = {f"cotangent.{name}": value for name, value in wanted.items()}
        given = prepare(op, Numerics.F64, inputs, config) | asked
        assert_agreed(both(op, config, given), f"{op} {config}")


def test_one_token_of_the_memory_agrees() -> None:
    for seed, config in enumerate(memories()):
        inputs = token(case(config, time=2, window=3, seed=seed, document=2), 1)
        given = prepare(Op.MEMORY_STEP, Numerics.F64, inputs, config)
        assert_agreed(both(Op.MEMORY_STEP, config, given), f"memory_step {config}")


@pytest.mark.parametrize("form", [Oracle, Chunks])
def test_turns_taken_back_are_complex_steps_through_the_loop_and_through_the_closed_form(form: type[Oracle]) -> None:
    for seed, config in enumerate(memories()):
        inputs = case(config, time=5, window=3, seed=seed, document=4)
        asked = cotangents(inputs, seed)
        gradients = Adjoint(config).gradients(inputs, asked)
        rng = generator(seed + 300)
        for name, gradient in gradients.items():
            direction = rng.standard_normal(gradient.shape)
            actual = float((gradient * direction).sum())
            wanted = complex_step.along(form(config).run, inputs, {name: direction}, asked)
            scale = np.sqrt((gradient**2).sum() * (direction**2).sum())
            assert abs(actual - wanted) <= AGREED * scale + 1e-300, f"{config} {name}: {actual} and {wanted}"


@pytest.mark.parametrize("op", [op for op, slopes in NumpyPort.slopes.items() if op not in FORMS])
def test_tokens_taken_back_are_a_complex_step_through_the_whole_call(op: Op) -> None:
    stored = next(case for case in load_cases() if case.op is op and case.cotangents)
    given = prepare(op, Numerics.F64, stored.inputs, stored.config)
    config, rng = OPERATIONS[op].configured(stored.config), generator(300)
    gradients = NumpyPort.slopes[op](config, given, stored.cotangents)
    signs = {name: rng.choice(np.array([-1.0, 1.0]), gradient.shape) for name, gradient in gradients.items()}
    actual = sum(float((gradient * signs[name]).sum()) for name, gradient in gradients.items())
    wanted = complex_step.along(lambda x: NumpyPort.functions[op](config, x, FORWARD), given, signs, stored.cotangents)
    scale = np.sqrt(sum(float((gradient**2).sum()) for gradient in gradients.values()))
    assert abs(actual - wanted) <= AGREED * scale, f"{actual} and {wanted}"


def test_the_closed_form_of_every_axis_is_the_loop() -> None:
    """Two ways in numpy: token by token, and all tokens of a run from products of gates or one system of errors."""
    for seed, config in enumerate(cells(Op.MIRAS_CHUNKED)):
        inputs = miras_case(config, time=7, seed=seed, document=5)
        assert_agreed([Closed(config).run(inputs), Miras(config).run(inputs)], f"miras_chunked {config}")


def in_order(order: Order, terms: list[np.float32]) -> np.float32:
    """Add numbers one pair at a time as the order says."""
    if order == "pairwise":
        while len(terms) > 1:
            pairs = [terms[i] + terms[i + 1] for i in range(0, len(terms) - 1, 2)]
            terms = pairs + terms[len(terms) // 2 * 2 :]
        return terms[0]
    if order == "shuffled":
        terms = [terms[i] for i in np.random.Generator(np.random.Philox(key=len(terms))).permutation(len(terms))]
    total = np.float32(0.0)
    for term in reversed(terms) if order == "reversed" else terms:
        total = total + term
    return total


def test_every_order_adds_single_precision_numbers_in_its_own_order() -> None:
    found = set()
    for length in (1, 2, 7, 300):
        terms = generator(length).standard_normal((length, 2)).astype(np.float32) * 1e3
        for order in ORDERS:
            total = Sums(order).total(terms, axis=0)
            assert total.dtype == np.float32
            for column in range(2):
                assert total[column] == in_order(order, list(terms[:, column])), f"{order} of {length} terms"
        found = {Sums(order).total(terms, axis=0)[0] for order in ORDERS}
    assert len(found) == len(ORDERS), "two orders give the same sum of 300 numbers"


def test_orders_move_single_precision_and_no_more() -> None:
    config = rule("omega", "mlp", step_scale="mass")
    inputs = prepare(Op.MEMORY_SCAN, Numerics.F32, case(config, time=9, seed=3), config)
    reads = {
        order: NumpyPort(order).run(Op.MEMORY_SCAN, config, inputs, numerics=Numerics.F32, taps=frozenset())["reads"]
        for order in ORDERS
    }
    assert all(value.dtype == np.float32 for value in reads.values())
    spread = np.max([np.abs(value - reads["forward"]).max() for value in reads.values()])
    assert 0.0 < spread < 1e-5 * np.abs(reads["forward"]).max()
    assert all((value != reads["forward"]).any() for order, value in reads.items() if order != "forward")
