"""What a seeded fault is, and the ways to build a faulty port from a sound one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Final, Protocol
from unittest.mock import patch

import numpy as np

from spec_tests.contract.operations import OPERATIONS
from spec_tests.discovery import modules_of_tests
from spec_tests.oracle.sums import FORWARD
from spec_tests.port import PROFILES, Array, Declaration, Numerics, Op, Port, Run, Scalar, round_to_bf16

Arrays = Mapping[str, Array]
Config = Mapping[str, Scalar]
Wrap = Callable[[Run], Run]
EVERY_PROFILE: Final = PROFILES


@dataclass(frozen=True)
class Fault:
    """One defect of one operation.

    `requirement` is the clause of docs/spec it breaks (`OPT-7b`; `OPT-7` where the sentence has no letters, or as a
    whole) and `killed_by` the test that must notice, as `module:function`. `wrap` turns a sound `run` into the
    faulty one. `numerics` are the profiles in which the test must notice: all, unless `argument` says why the fault
    cannot be seen in the others. `origin` is what it models: *source*, what a source system or a public
    implementation really does or did; *misreading*, a convention that the papers leave open, print in several ways
    or misprint; *porting*, what goes wrong when a sound model is written again.
    """

    id: str
    requirement: str
    op: Op
    killed_by: str
    wrap: Wrap
    origin: str
    numerics: tuple[Numerics, ...] = EVERY_PROFILE
    argument: str = ""


class Defect(Protocol):
    """What makes a sound port faulty: a seeded fault, or one that is made from the table of operations."""

    @property
    def id(self) -> str:
        """The name it has in reports."""
        ...

    @property
    def op(self) -> Op:
        """The operation it sits in."""
        ...

    @property
    def wrap(self) -> Wrap:
        """What turns a sound `run` into the faulty one."""
        ...


def claimed_test(fault: Fault) -> Callable[..., None]:
    """Return the test that claims to notice a fault."""
    return named_test(fault.killed_by)


def named_test(name: str) -> Callable[..., None]:
    """Return a test of a chapter by its file and its own name: `module:function`."""
    module, _, function = name.partition(":")
    test: Callable[..., None] = getattr(import_module(modules_of_tests()[module]), function)
    return test


class FaultyPort:
    """A port that is sound but for one operation, and that runs in one precision only."""

    def __init__(self, port: Port, fault: Defect, numerics: Numerics) -> None:
        self._port = port
        self._fault = fault
        self._numerics = numerics
        self._faulty = fault.wrap(port.run)

    def declare(self) -> Declaration:
        """Declare what the sound port declares, in one precision."""
        sound = self._port.declare()
        name = f"{sound.name} with {self._fault.id}"
        return Declaration(**{**vars(sound), "name": name, "numerics": (self._numerics,)})

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Run the operation, faultily if it is the fault's."""
        chosen = self._faulty if op == self._fault.op else self._port.run
        return chosen(op, config, inputs, numerics=numerics, taps=taps)


def with_inputs(change: Callable[[Config, Arrays], Arrays]) -> Wrap:
    """Build a fault that runs the sound operation on other inputs; `change` returns only those that differ."""

    def wrap(run: Run) -> Run:
        def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
            changed = in_form(op, change(config, inputs), numerics)
            return run(op, config, {**inputs, **changed}, numerics=numerics, taps=taps)

        return faulty

    return wrap


def with_outputs(change: Callable[[Config, Arrays, Arrays], Arrays]) -> Wrap:
    """Build a fault that changes results; `change(config, inputs, outputs)` returns those that differ."""

    def wrap(run: Run) -> Run:
        def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
            outputs = run(op, config, inputs, numerics=numerics, taps=taps)
            with np.errstate(all="ignore"):
                return {**outputs, **in_form(op, change(config, inputs, outputs), numerics)}

        return faulty

    return wrap


def with_config(change: Callable[[Config], Config]) -> Wrap:
    """Build a fault that runs the sound operation under another configuration; `change` returns what differs."""

    def wrap(run: Run) -> Run:
        def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
            return run(op, {**config, **change(config)}, inputs, numerics=numerics, taps=taps)

        return faulty

    return wrap


def with_part(oracle: str, part: str, wrong: Callable[..., object], *, inside: str = "") -> Wrap:
    """Build a fault that answers like the loops of a module of oracles, with one function of it replaced.

    `wrong` is called with the right function and then with what that one would get. `inside` is the module that the
    function stands in, where it is another.
    """

    def change(op: str, config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
        module, place = import_module(oracle), import_module(inside or oracle)
        wide = {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in inputs.items()}
        with patch.object(place, part, partial(wrong, getattr(place, part))):
            answer = module.ANSWERS[Op(op)](config, wide, FORWARD)
        return {name: answer[name] for name in outputs if name in answer}

    def wrap(run: Run) -> Run:
        def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
            outputs = run(op, config, inputs, numerics=numerics, taps=taps)
            return {**outputs, **in_form(op, change(op, config, inputs, outputs), numerics)}

        return faulty

    return wrap


def gradients_lost(*names: str) -> Wrap:
    """Build a fault in which the gradients of these inputs are zero."""

    def change(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
        return {f"grad.{name}": 0.0 * outputs[f"grad.{name}"] for name in names if f"grad.{name}" in outputs}

    return with_outputs(change)


def in_form(op: str, values: Arrays, numerics: Numerics) -> Arrays:
    """Give arrays the type they travel in, so that a fault is found for what it computes and not for its form."""
    row = OPERATIONS[Op(op)]
    formed = {}
    for name, value in values.items():
        role = "state" if name.startswith("grad.") else row.role(name)
        cast = np.array(value, dtype=np.int64 if role == "index" else numerics.dtype, order="C")
        formed[name] = round_to_bf16(cast) if role == "activation" and numerics is Numerics.BF16_IO else cast
    return formed


def forgotten(*names: str) -> Wrap:
    """Build a fault that hands on zeros where this state should go."""
    return with_outputs(lambda _, __, outputs: {name: 0.0 * outputs[name] for name in names})


def averaged(*names: str) -> Wrap:
    """Build a fault that averages this state over the rows before it is used."""
    return with_inputs(lambda _, inputs: {name: 0.0 * inputs[name] + inputs[name].mean(0) for name in names})


def zeroed(*names: str) -> Wrap:
    """Build a fault that forgets part of the state between calls."""
    return with_inputs(lambda _, x: {name: 0 * x[name] for name in names})


def one_token_late(name: str) -> Wrap:
    """Build a fault that gives every token the output of the one before it."""
    return with_outputs(lambda _, __, y: {name: np.concatenate([0.0 * y[name][:, :1], y[name][:, :-1]], axis=1)})


def cleared_by_an_empty_call(output: str, *names: str) -> Wrap:
    """Build a fault in which a call without tokens, which has no `output`, hands on zeros."""
    return with_outputs(lambda _, __, y: {} if y[output].shape[1] else {name: 0.0 * y[name] for name in names})


def first_token_goes_on() -> Wrap:
    """Build a fault that takes the first token of a call for one that goes on with a document."""

    def change(_: Config, x: Arrays) -> Arrays:
        first = np.arange(x["position"].shape[1]) == 0
        return {"position": np.where(first, np.maximum(x["position"], 1), x["position"])}

    return with_inputs(change)


SEEN: Final = "test_what_is_out_of_sight_may_hold_anything"
LEARNED: Final = "test_gradients_are_finite_whatever_is_out_of_sight"
"""The tests of every chapter that has documents; each has a module of its own."""


def multiplied(name: str, op: Op, requirement: str, module: str, *hidden: str) -> tuple[Fault, Fault]:
    """Return two faults that hide inputs by a product with zero instead of a selection: in all, in derivatives alone.

    What is finite counts for nothing then, and what is not finite spoils its row.
    """
    origin = "porting: a mask that is multiplied, where 0 times infinity is not 0"
    everywhere, slopes = (with_outputs(partial(_spoiled, hidden, prefix)) for prefix in ("", "grad."))
    return (
        Fault(f"{name}-hidden-times-zero", requirement, op, f"{module}:{SEEN}", everywhere, origin),
        Fault(f"{name}-slopes-times-zero", requirement, op, f"{module}:{LEARNED}", slopes, origin),
    )


def _spoiled(hidden: tuple[str, ...], prefix: str, _: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Return the outputs under a prefix plus zero times everything hidden of their row."""
    rows = [(0.0 * inputs[name]).reshape(len(inputs[name]), -1).sum(1) for name in hidden]
    leak = np.sum(rows, axis=0)
    return {
        name: value + leak.reshape(-1, *(1 for _ in value.shape[1:]))
        for name, value in outputs.items()
        if name.startswith(prefix) and value.dtype.kind == "f" and value.shape[:1] == leak.shape
    }
