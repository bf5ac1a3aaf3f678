"""What a row of the table of operations is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from spec_tests.port import Op, Scalar

Role = Literal["activation", "parameter", "state", "index"]


@dataclass(frozen=True)
class TensorSchema:
    """One array of an operation: its name, the names of its axes, and its role."""

    name: str
    axes: tuple[str, ...]
    role: Role


@dataclass(frozen=True)
class Operation:
    """One row of the table.

    `outputs` stand in the order in which one follows from another, so the first that differs is where to look. `taps`
    are intermediate values that a port may show when asked: each stands before the outputs. `config` maps a key to the
    values it may take: a type, or a tuple of names. `usual` has the values of keys that a question may leave out; a
    port is told all keys.
    """

    op: Op
    level: int
    config: Mapping[str, type[Scalar] | tuple[str, ...]]
    inputs: tuple[TensorSchema, ...]
    outputs: tuple[TensorSchema, ...]
    taps: tuple[TensorSchema, ...] = ()
    usual: Mapping[str, Scalar] = field(default_factory=dict)

    def configured(self, config: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return a configuration with every key that it may leave out; TypeError where the keys are not the table's."""
        whole = {**self.usual, **config}
        if set(whole) != set(self.config):
            raise TypeError(f"{self.op}: the test gives the configuration {sorted(config)}")
        return whole

    def role(self, name: str) -> Role:
        """Return the role of an input, tap or output; KeyError for a name that the operation does not have."""
        return {tensor.name: tensor.role for tensor in (*self.inputs, *self.taps, *self.outputs)}[name]


def activation(name: str, axes: str) -> TensorSchema:
    """Describe an array in the model's own precision; `axes` are space-separated."""
    return TensorSchema(name, tuple(axes.split()), "activation")


def parameter(name: str, axes: str) -> TensorSchema:
    """Describe a learned array."""
    return TensorSchema(name, tuple(axes.split()), "parameter")


def state(name: str, axes: str) -> TensorSchema:
    """Describe an array that is carried, a norm or a gate: float32 or wider."""
    return TensorSchema(name, tuple(axes.split()), "state")


def index(name: str, axes: str) -> TensorSchema:
    """Describe an integer array."""
    return TensorSchema(name, tuple(axes.split()), "index")
