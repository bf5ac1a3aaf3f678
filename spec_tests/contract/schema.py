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
class Need:
    """A value of a key that means something only beside some values of other keys, and why."""

    key: str
    value: str
    beside: Mapping[str, tuple[Scalar, ...]]
    why: str

    def broken(self, config: Mapping[str, Scalar]) -> bool:
        """Return whether a configuration, perhaps of some keys only, has the value beside what it means nothing with.

        Values are compared as they are printed.
        """
        if str(config.get(self.key)) != self.value:
            return False
        others = ((str(config[key]), values) for key, values in self.beside.items() if key in config)
        return any(value not in {str(allowed) for allowed in values} for value, values in others)


@dataclass(frozen=True)
class Operation:
    """One row of the table.

    `outputs` stand in the order in which one follows from another, so the first that differs is where to look. `taps`
    are intermediate values that a port may show when asked: each stands before the outputs. `config` maps a key to the
    values it may take: a type, or a tuple of names. `usual` has the values of keys that a question may leave out; a
    port is told all keys. `needs` say which values do not go together: no question has them.
    """

    op: Op
    level: int
    config: Mapping[str, type[Scalar] | tuple[str, ...]]
    inputs: tuple[TensorSchema, ...]
    outputs: tuple[TensorSchema, ...]
    taps: tuple[TensorSchema, ...] = ()
    usual: Mapping[str, Scalar] = field(default_factory=dict)
    needs: tuple[Need, ...] = ()

    def meaningless(self, config: Mapping[str, Scalar]) -> str | None:
        """Return why a configuration, perhaps of some keys only, means nothing; None where it means something."""
        return next((need.why for need in self.needs if need.broken(config)), None)

    def configured(self, config: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return a configuration with every key that it may leave out; TypeError where the keys are not the table's."""
        whole = {**self.usual, **config}
        if set(whole) != set(self.config):
            raise TypeError(f"{self.op}: the test gives the configuration {sorted(config)}")
        return whole

    def mended(self, config: Mapping[str, Scalar], kept: Mapping[str, Scalar]) -> dict[str, Scalar] | None:
        """Return a configuration that means something, with the values to keep; None where those mean nothing.

        A value that does not go with the rest becomes the first of its key, which goes with everything.
        """
        if self.meaningless(kept) is not None:
            return None
        changed = dict(config)
        while need := next((need for need in self.needs if need.broken(changed)), None):
            if need.key in kept:
                changed |= {key: values[0] for key, values in need.beside.items() if key not in kept}
            else:
                options = self.config[need.key]
                assert isinstance(options, tuple), f"{need.key} has no list of values"
                changed[need.key] = options[0]
        return changed

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
