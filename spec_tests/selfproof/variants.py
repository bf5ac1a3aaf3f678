"""Legitimate variants: implementations that are right and round otherwise. None of them may fail anything."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest

from spec_tests.contract.operations import chapters_of_operations
from spec_tests.contract.outcome import Outcome, classify
from spec_tests.discovery import modules_of_tests
from spec_tests.oracle.sums import ORDERS
from spec_tests.port import Op, Port
from spec_tests.ports.numpy import NumpyPort
from spec_tests.process.load import load_port
from spec_tests.selfproof.port_tests import PortTest
from spec_tests.selfproof.rounding_otherwise import ChangingPort, WidePort
from spec_tests.vectors.case import Case, absent
from spec_tests.vectors.judge import check

OTHERS: Final[Mapping[str, str]] = {
    "jax": "spec_tests.ports.jax:JaxPort",
    "compiled": "spec_tests.ports.cpp:CompiledPort",
    "javascript": "spec_tests.ports.javascript:NodePort",
    "kernels": "spec_tests.ports.kernels:CpuPort",
    "kernels, mlp": "spec_tests.ports.kernels:CpuMlpPort",
}
"""Ports that need something that may be absent: a package, a compiler, Node."""


@dataclass(frozen=True)
class Failure:
    """A check that a legitimate port did not pass."""

    variant: str
    check: str
    outcome: Outcome
    message: str


def variants() -> dict[str, Callable[[], Port]]:
    """Return a factory for each variant; calling one raises UserError where what it needs is absent."""
    loops: dict[str, Callable[[], Port]] = {f"numpy, sums {order}": partial(NumpyPort, order) for order in ORDERS}
    loops |= {"float64 inside": WidePort, "orders in turn": ChangingPort}
    return loops | {name: partial(load_port, path) for name, path in OTHERS.items()}


def operations_of(test: str) -> frozenset[Op]:
    """Return the operations of the chapter of a test; of one that has none, and of a test of no chapter, nothing."""
    folder = modules_of_tests().get(test.partition(":")[0], "").rpartition(".")[0]
    return frozenset(op for op, chapter in chapters_of_operations().items() if folder.endswith(f".{chapter}"))


def failures(variant: str, port: Port, tests: list[PortTest], cases: tuple[Case, ...]) -> Iterator[Failure | None]:
    """Yield what each check says of a port that is right: a failure, or None where it passes."""
    declared = port.declare()
    # As in a run of the suite, a test is left out where the port has no operation of its chapter.
    checks: list[tuple[str, Callable[[], object]]] = [
        (test.name, partial(test.call, port))
        for test in tests
        if declared.operations.intersection(operations_of(test.name) or declared.operations)
    ]
    for case in cases:
        for numerics in case.numerics:
            if absent(declared, case, numerics) is None:
                checks.append((f"{case.id}-{numerics}", partial(check, port, case, numerics)))
    for name, call in checks:
        try:
            call()
        except pytest.skip.Exception:
            continue
        except AssertionError as error:
            yield Failure(variant, name, classify(error), str(error).splitlines()[0])
            continue
        yield None
