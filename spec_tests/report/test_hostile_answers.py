"""Whatever a port of this process answers, raises or changes costs the case in hand, and never looks like an answer.

Every row is put to the driver in the place of a sound answer to `l2_normalize`, which itself passes.
"""

import asyncio
import os
import signal
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from tempfile import TemporaryFile
from types import MappingProxyType
from typing import Any, Final, NoReturn
from unittest import SkipTest

import numpy as np
import pytest
from hypothesis.errors import StopTest, UnsatisfiedAssumption

from spec_tests.contract.contain import TWIN
from spec_tests.contract.driver import ask, prepare
from spec_tests.contract.outcome import FormError, PortError, UndeclaredError
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Numerics, Op, Scalar, UnsupportedError
from spec_tests.process.example import ExamplePort

X: Final = generator(1).standard_normal((3, 4))
CONFIG: Final[Mapping[str, Scalar]] = {"eps": 0.5}


class StubPort(ExamplePort):
    """The example port with another answer, made from its own, its inputs and its configuration."""

    def __init__(self, answer: Callable[[Array, dict[str, Array], dict[str, Scalar]], Any]) -> None:
        self._answer = answer

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        y = super().run(op, config, inputs, numerics=numerics, taps=taps)["y"]
        assert isinstance(inputs, dict)
        assert isinstance(config, dict)
        answer: Mapping[str, Array] = self._answer(y, inputs, config)
        return answer


def asked(port: ExamplePort) -> Mapping[str, Array]:
    return ask(port, Op.L2_NORMALIZE, CONFIG, prepare(Op.L2_NORMALIZE, Numerics.F64, {"x": X}, CONFIG), Numerics.F64)


SOUND: Final = asked(ExamplePort())["y"]


class Agreeable(np.ndarray[Any, Any]):
    """An array that is whatever it is compared with, and makes every error zero."""

    def __eq__(self, other: object) -> Any:
        return True

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return np.zeros(self.shape)


class Resembling:
    """No array, but numpy would make one of it."""

    def __init__(self, y: Array) -> None:
        self._y = y

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return self._y


class Lying(dict[str, Array]):
    """A dict whose contents are others each time."""

    def __getitem__(self, name: str) -> Array:
        return SOUND


class Name(str):
    """A string that equals every other."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("y")


def masked(y: Array) -> Array:
    hidden = np.ones(y.shape, bool)
    hidden.flat[0] = False
    array: Array = np.ma.MaskedArray(np.zeros(y.shape), hidden)
    return array


def mapped(y: Array) -> Array:
    with TemporaryFile() as file:
        room: Array = np.memmap(file, y.dtype, shape=y.shape)
        return room


ANSWERS: Final[Mapping[str, tuple[Callable[[Array], Any], str]]] = {
    "a masked array": (lambda y: {"y": masked(y)}, "is a MaskedArray"),
    "a subclass with ufuncs of its own": (lambda y: {"y": y.view(Agreeable)}, "is an Agreeable"),
    "a matrix": (lambda y: {"y": y.view(np.matrix)}, "is a matrix"),
    "a mapped file": (lambda y: {"y": mapped(y)}, "is a memmap"),
    "a record array": (lambda y: {"y": y.view(np.recarray)}, "is a recarray"),
    "a scalar": (lambda y: {"y": y[0, 0]}, "is a float64, expected a numpy array"),
    "a list": (lambda y: {"y": y.tolist()}, "is a list"),
    "what resembles an array": (lambda y: {"y": Resembling(y)}, "is a Resembling"),
    "a buffer": (lambda y: {"y": y.tobytes()}, "is a bytes"),
    "objects": (lambda y: {"y": y.astype(object)}, "is object, expected float64"),
    "an object without axes": (lambda y: {"y": np.array(Resembling, object)}, "has shape"),
    "complex numbers": (lambda y: {"y": y + 0j}, "is complex128"),
    "strings": (lambda y: {"y": y.astype(str)}, "expected float64"),
    "bytes in the other order": (lambda y: {"y": y.astype(">f8")}, "is >f8"),
    "fields": (lambda y: {"y": np.zeros(y.shape, [("y", float)])}, "expected float64"),
    "half precision": (lambda y: {"y": y.astype(np.float16)}, "is float16"),
    "one element repeated without end": (lambda y: {"y": np.broadcast_to(y[0, 0], (1 << 20, 1 << 20))}, "bytes"),
    "a subclass of dict": (lambda y: Lying(y=np.zeros(3)), "returned a Lying"),
    "an ordered dict": (lambda y: OrderedDict(y=y), "returned an OrderedDict"),
    "a view of a dict": (lambda y: MappingProxyType({"y": y}), "returned a mappingproxy"),
    "a name that equals every other": (lambda y: {Name("z"): y}, "a name that is a Name"),
    "a name that is none": (lambda y: {None: y}, "a name that is a NoneType"),
    "pairs": (lambda y: [("y", y)], "returned a list"),
    "a generator": (lambda y: (pair for pair in [("y", y)]), "returned a generator"),
    "a promise": (lambda y: lambda: {"y": y}, "returned a function"),
    "nothing": (lambda y: None, "returned a NoneType"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_only_a_dict_of_numpy_arrays_is_an_answer(name: str) -> None:
    answer, words = ANSWERS[name]
    with pytest.raises(FormError, match=words):
        asked(StubPort(lambda y, inputs, config: answer(y)))


UnprintableError = type("UnprintableError", (Exception,), {"__str__": lambda error: raising(KeyboardInterrupt())})
EndlessError = type("EndlessError", (Exception,), {"__str__": lambda error: "x" * 5_000_000})
FeignedError = type("FeignedError", (Exception,), {"__class__": property(lambda error: UnsupportedError)})


def raising(error: BaseException) -> NoReturn:
    raise error


RAISED: Final[Mapping[str, tuple[BaseException, str]]] = {
    "an end of the program": (SystemExit(0), "raised SystemExit: 0$"),
    "an interrupt that nobody pressed": (KeyboardInterrupt(), "raised KeyboardInterrupt$"),
    "an end of a generator": (GeneratorExit(), "raised GeneratorExit$"),
    "a cancelled task": (asyncio.CancelledError(), "raised CancelledError$"),
    "an end of an iteration": (StopIteration(3), "raised StopIteration: 3$"),
    "a skip of pytest": (pytest.skip.Exception("not today"), "raised Skipped: not today$"),
    "a failure of pytest that is expected": (pytest.xfail.Exception("known"), "raised XFailed: known$"),
    "an end of pytest": (pytest.exit.Exception("done", 0), "raised Exit: done$"),
    "a skip of unittest": (SkipTest("not today"), "raised SkipTest: not today$"),
    "an example that hypothesis would drop": (UnsatisfiedAssumption(), "raised UnsatisfiedAssumption$"),
    "an end of an example of hypothesis": (StopTest(0), "raised StopTest: 0$"),
    "several at once": (BaseExceptionGroup("both", [SystemExit(0), SystemExit(0)]), "raised BaseExceptionGroup: both"),
    "something without a message": (UnprintableError(), "raised UnprintableError: .what cannot be printed.$"),
    "something without an end": (EndlessError(), "raised EndlessError: x{4000}$"),
    "what says that it is unsupported": (FeignedError(), "raised FeignedError$"),
    "no memory": (MemoryError(), "raised MemoryError$"),
    "no depth": (RecursionError("too deep"), "raised RecursionError: too deep$"),
    "an assertion": (AssertionError("y > 0"), "raised AssertionError: y > 0$"),
}


@pytest.mark.parametrize("name", RAISED)
def test_whatever_is_raised_costs_the_case_in_one_sentence(name: str) -> None:
    error, words = RAISED[name]
    with pytest.raises(PortError, match=f"(?m)^l2_normalize: the port {words}"):
        asked(StubPort(lambda *_: raising(error)))


def test_an_answer_of_unsupported_is_undeclared_whatever_its_reason() -> None:
    unprintable = type("Unprintable", (UnsupportedError,), {"__str__": lambda error: raising(SystemExit(0))})
    with pytest.raises(UndeclaredError, match="cannot be printed"):
        asked(StubPort(lambda *_: raising(unprintable("no", capability="x"))))


def test_what_a_port_makes_of_its_arguments_does_not_change_the_question() -> None:
    def forget(y: Array, inputs: dict[str, Array], config: dict[str, Scalar]) -> dict[str, Array]:
        inputs.clear()
        config.clear()
        return {"y": y}

    config, given = dict(CONFIG), prepare(Op.L2_NORMALIZE, Numerics.F64, {"x": X}, CONFIG)
    answered = ask(StubPort(forget), Op.L2_NORMALIZE, config, given, Numerics.F64)
    assert np.array_equal(answered["y"], SOUND)
    assert (config, set(given)) == (CONFIG, {"x"})


def after(act: Callable[[Array, Array], object]) -> StubPort:
    """Return the port that does something with its answer and its input before it answers soundly."""

    def answer(y: Array, inputs: dict[str, Array], config: dict[str, Scalar]) -> dict[str, Array]:
        act(y, inputs["x"])
        return {"y": y}

    return StubPort(answer)


CHANGES: Final[Mapping[str, Callable[[Array], None]]] = {
    "its values": lambda x: x.fill(0.0),
    "its shape": lambda x: x.resize((4, 3), refcheck=False),
    "its type": lambda x: setattr(x, "dtype", np.dtype(np.int64)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_input_that_is_changed_in_place_costs_the_case(change: str) -> None:
    with pytest.raises(FormError, match="changed its input 'x'"):
        asked(after(lambda y, x: CHANGES[change](x)))


def test_an_answer_that_was_given_stays_as_it_was() -> None:
    kept: list[Array] = []
    answered = asked(after(lambda y, x: kept.append(y)))
    kept[0][...] = 0.0
    kept[0].resize(12, refcheck=False)
    assert np.array_equal(answered["y"], SOUND)


def test_an_error_state_of_numpy_that_a_port_leaves_ends_with_its_call() -> None:
    before = np.geterr()
    asked(after(lambda y, x: np.seterr(all="raise")))
    assert np.geterr() == before


# Whatever this process has loaded by now warns of a fork in its own words and kind (Python, JAX).
@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize("ends", ["returns", "raises"])
def test_a_copy_of_the_process_does_not_go_on_with_the_suite(ends: str) -> None:
    codes: list[int] = []

    def twice(y: Array, *_: object) -> dict[str, Array]:
        if child := os.fork():
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        elif ends == "raises":
            raise SystemExit(0)
        return {"y": y}

    assert np.array_equal(asked(StubPort(twice))["y"], SOUND)
    assert codes == [TWIN]


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_of_the_user_ends_the_run_also_where_the_port_catches_it() -> None:
    def deaf(y: Array, *_: object) -> dict[str, Array]:
        with suppress(BaseException):
            press()
        return {"y": y}

    with pytest.raises(KeyboardInterrupt):
        asked(StubPort(lambda *_: press()))
    with pytest.raises(KeyboardInterrupt):
        asked(StubPort(deaf))


def test_another_thread_can_ask_too() -> None:
    found: list[Mapping[str, Array]] = []
    thread = threading.Thread(target=lambda: found.append(asked(ExamplePort())))
    thread.start()
    thread.join()
    assert np.array_equal(found[0]["y"], SOUND)
