"""Generated faults against the suite: the stored cases first, then the test that is named, then every other.

A fault is put on a sound port, which answers each question once: the numpy loops, and the reference where derivatives
are asked for. A case notices a fault where the answer leaves its budget; an error or a refused form notices nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import blake2b
from typing import Final

import numpy as np
import pytest

from spec_tests.contract.outcome import FormError, Outcome, PortError, classify
from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.faults.fault import FaultyPort, named_test
from spec_tests.faults.generated.kind import Generated
from spec_tests.port import Array, Declaration, Numerics, Op, Port, Scalar
from spec_tests.ports.numpy import NumpyPort
from spec_tests.ports.reference import ReferencePort
from spec_tests.selfproof.listed import argued, noticing
from spec_tests.vectors.case import Case, load_cases
from spec_tests.vectors.compare import distances
from spec_tests.vectors.question import Question

Answer = Mapping[str, Array]

FATES: Final = ("by a case", "by a test", "argued", "surviving")
"""What can become of a fault in a profile."""


class SoundPort:
    """A correct port that answers a question once: loops where they are faster, the reference for derivatives."""

    def __init__(self) -> None:
        self._loops, self._reference = NumpyPort(), ReferencePort()
        self._known: dict[bytes, Answer] = {}

    def declare(self) -> Declaration:
        """Declare what the reference declares."""
        return self._reference.declare()

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Answer:
        """Answer from memory, or by the port that is faster."""
        key = _digest(op, config, inputs, numerics, taps)
        if key not in self._known:
            derived = any(name.startswith("cotangent.") for name in inputs)
            loops = not derived and op in self._loops.functions
            port: Port = self._loops if loops else self._reference
            self._known[key] = port.run(op, config, inputs, numerics=numerics, taps=taps)
        return dict(self._known[key])


def _digest(op: str, config: Mapping[str, Scalar], inputs: Mapping[str, Array], numerics: str, taps: object) -> bytes:
    digest = blake2b(f"{op} {sorted(config.items())} {numerics} {taps}".encode(), digest_size=16)
    for name in sorted(inputs):
        digest.update(f"{name} {inputs[name].shape} {inputs[name].dtype}".encode() + inputs[name].tobytes())
    return digest.digest()


@dataclass(frozen=True)
class Verdict:
    """What noticed a fault in each profile in which it can show: a case, a test, or nothing (an empty name)."""

    fault: Generated
    noticed: Mapping[Numerics, str]

    @property
    def survives(self) -> tuple[Numerics, ...]:
        """The profiles in which nothing notices it and no argument says why."""
        unseen = (numerics for numerics, name in self.noticed.items() if not name)
        return tuple(numerics for numerics in unseen if not argued(self.fault, numerics))

    def fates(self) -> dict[Numerics, str]:
        """Return what became of the fault in each profile, a word of `FATES`."""
        return {numerics: self._fate(numerics, name) for numerics, name in self.noticed.items()}

    def _fate(self, numerics: Numerics, name: str) -> str:
        if not name:
            return "argued" if argued(self.fault, numerics) else "surviving"
        return "by a test" if ":" in name else "by a case"

    def complaints(self) -> list[str]:
        """Return what is wrong with the suite: the fault survives, or an argument speaks of one that is noticed."""
        found = [f"{self.fault.id}: nothing notices it in {numerics}" for numerics in self.survives]
        for numerics, name in self.noticed.items():
            if name and argued(self.fault, numerics):
                found.append(f"{self.fault.id}: argued in {numerics}, and yet {name} notices it")
        return found

    def told(self) -> dict[str, object]:
        """Return everything that is known, for a report."""
        reasons = {numerics: argued(self.fault, numerics) for numerics, name in self.noticed.items() if not name}
        return {
            "fault": self.fault.id,
            "forbidden_by": self.fault.forbidden_by,
            "noticed": self.noticed,
            "argued": {numerics: reason for numerics, reason in reasons.items() if reason},
        }


@dataclass
class Judge:
    """Puts faults of one operation to its stored cases and to its tests."""

    op: Op
    port: SoundPort = field(default_factory=SoundPort)
    _noticed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many faults of a kind a test noticed: what notices one mostly notices the next."""

    def __post_init__(self) -> None:
        self.cases = sorted(load_cases(op=self.op), key=lambda case: sum(value.size for value in case.inputs.values()))

    def by_cases(self, fault: Generated) -> Verdict:
        """Return which stored case notices a fault first, in each profile."""
        return Verdict(fault, {numerics: self._case(fault, numerics) for numerics in fault.numerics})

    def _case(self, fault: Generated, numerics: Numerics) -> str:
        for case in self.cases:
            if numerics not in case.numerics or (not case.cotangents and fault.kind.startswith("gradient")):
                continue
            try:
                if self._leaves(case, fault, numerics):
                    return case.id
            except (FormError, PortError):
                # A change may not fit a question: it shows nothing then.
                continue
        return ""

    def _leaves(self, case: Case, fault: Generated, numerics: Numerics) -> bool:
        question = Question(case.op, case.config, case.inputs, case.cotangents)
        answer = question.put(FaultyPort(self.port, fault, numerics), numerics)
        sound = question.put(self.port, numerics)
        changed = {name: value for name, value in answer.items() if not _same(value, sound[name])}
        found = distances(case.op, changed, case.expected)
        return any(bool((~(errors <= case.budgets[numerics][name])).any()) for name, errors in found.items())

    def by_named_tests(self, verdict: Verdict) -> Verdict:
        """Return the verdict with what the test that `noticed.toml` names notices, where no case did."""
        named = {numerics: noticing(verdict.fault, numerics) for numerics in verdict.survives}
        found = {numerics: self._first(verdict.fault, numerics, [name]) for numerics, name in named.items() if name}
        return replace(verdict, noticed={**verdict.noticed, **found})

    def by_tests(self, verdict: Verdict) -> Verdict:
        """Return the verdict with what any test of the operation notices where nothing did so far and nobody argues."""
        kind, found = verdict.fault.kind, {}
        for numerics in verdict.survives:
            names = sorted(tests_of(self.op), key=lambda name: -self._noticed[kind, name])
            found[numerics] = self._first(verdict.fault, numerics, names)
            self._noticed[kind, found[numerics]] += 1
        return replace(verdict, noticed={**verdict.noticed, **found})

    def _first(self, fault: Generated, numerics: Numerics, names: Iterable[str]) -> str:
        return next((name for name in names if self._fails(named_test(name), fault, numerics)), "")

    def _fails(self, test: Callable[..., None], fault: Generated, numerics: Numerics) -> bool:
        try:
            test(port=FaultyPort(self.port, fault, numerics))
        except pytest.skip.Exception:
            return False
        except AssertionError as error:
            return classify(error) is Outcome.FAIL
        return False


def _same(value: Array, sound: Array) -> bool:
    return value is sound or (value.shape == sound.shape and np.array_equal(value, sound, equal_nan=True))


@cache
def tests_of(op: Op) -> tuple[str, ...]:
    """Return the tests that claim a seeded fault of an operation, and those of every call.

    The order is that of the catalogue.
    """
    claimed = (fault for fault in CATALOGUE if fault.op == op or fault.requirement.startswith("CALL-"))
    return tuple(dict.fromkeys(fault.killed_by for fault in claimed))
