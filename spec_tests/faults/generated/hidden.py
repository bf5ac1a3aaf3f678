"""Places that must not be seen, multiplied by a zero instead of left out: infinity times zero is not a number.

A leak is put in as such a mask lets it in: zero times the sum of what is hidden is added to the results of its row,
and to its gradients. It changes nothing unless something there is not finite.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import numpy as np

from spec_tests.contract.schema import Operation, TensorSchema
from spec_tests.faults.fault import Arrays, Config, with_outputs
from spec_tests.faults.generated.kind import Kind, Place, carried, is_float
from spec_tests.port import Array

Hidden = Callable[[Config, Arrays], Array]
"""Which entries of an input nobody may see: a mask of its first two axes, or of its first."""

BY_ROW: Final = 2
"""Axes of a mark of tokens; steps of training have an axis of batches before them."""
AGED: Final = ("window-1", "kernel-1", "span-1")
"""Axes of places of the state by age, the oldest first."""
OF_CONTEXT: Final = ("cache_keys", "cache_values", "tail")
"""What begins with a context where contexts and memories have marks of their own; all else begins with a memory."""


def begins(inputs: Arrays, name: str = "") -> Array:
    """Return which tokens begin a document, [batch, time]; of one token, [batch, 1]; of steps, those of the first.

    With two marks: which begin what `name` belongs to, both where it names nothing.
    """
    if "reset_memory" in inputs:
        context, memory = inputs["reset_context"] == 1, inputs["reset_memory"] == 1
        return np.asarray(context if name in OF_CONTEXT else memory if name else context & memory)
    if "reset" in inputs and inputs["reset"].ndim > BY_ROW:
        return np.asarray(inputs["reset"][0] == 1)
    if "reset" in inputs:
        return np.asarray(inputs["reset"].reshape(len(inputs["reset"]), -1) == 1)
    return np.asarray(inputs["position"] == 0)


def count(inputs: Arrays, prefix: str = "", name: str = "") -> Array:
    """Return how many tokens each row's document, or the context that `name` belongs to, has before the call."""
    position = inputs["context" if "context" in inputs and name in OF_CONTEXT else f"{prefix}position"]
    return np.asarray(position if position.ndim == 1 else position[:, :1].max(axis=1, initial=0))


def unreached(name: str, prefix: str, _: Config, inputs: Arrays) -> Array:
    """Return the places of a state by age that hold no token of the document that the row is in, [batch, ages]."""
    ages = np.arange(inputs[name].shape[1], 0, -1)
    fresh = np.asarray(begins(inputs, name)[:, :1].any(axis=1))
    return np.asarray((ages > count(inputs, prefix, name)[:, None]) | fresh[:, None])


def ended(name: str, prefix: str, _: Config, inputs: Arrays) -> Array:
    """Return the rows whose first token begins a document: what the row carried is of another, [batch]."""
    return np.asarray(begins(inputs, name)[:, :1].any(axis=1) | (count(inputs, prefix, name) == 0))


def earlier(_: Config, inputs: Arrays) -> Array:
    """Return the tokens after which another document begins in the call, [batch, time]."""
    later = np.asarray(np.cumsum(np.flip(begins(inputs), 1), axis=1))[:, ::-1]
    return np.asarray(np.concatenate([later[:, 1:], 0 * later[:, :1]], axis=1) > 0)


def _places(row: Operation) -> Iterator[tuple[str, str, Hidden]]:
    if not any(tensor.name.rpartition(".")[2] in ("position", "reset") for tensor in row.inputs):
        return
    for tensor in row.inputs:
        prefix = tensor.name[: tensor.name.rfind(".") + 1]
        if not is_float(tensor):
            continue
        if len(tensor.axes) > 1 and tensor.axes[1] in AGED:
            yield f"{tensor.name} unreached", tensor.name, partial(unreached, tensor.name, prefix)
        elif tensor in carried(row) and tensor.axes[:1] == ("batch",):
            # The moments of an optimiser are of no document.
            yield f"{tensor.name} of another document", tensor.name, partial(ended, tensor.name, prefix)
        elif tensor.axes[:2] == ("batch", "time"):
            yield f"{tensor.name} of an earlier document", tensor.name, earlier


def leak(hidden: Hidden, name: str, config: Config, inputs: Arrays) -> Array:
    """Return zero times what is hidden, for each row."""
    mask, value = hidden(config, inputs), inputs[name]
    spread = mask.reshape(*mask.shape, *(1 for _ in range(value.ndim - mask.ndim)))
    product = 0.0 * np.where(spread, value, 0.0)
    return np.asarray(product.reshape(len(value), -1).sum(axis=1))


def _leaking(
    to: tuple[TensorSchema, ...], hidden: Hidden, name: str, config: Config, inputs: Arrays, outputs: Arrays
) -> Arrays:
    found = leak(hidden, name, config, inputs)
    return {
        tensor.name: outputs[tensor.name] + found.reshape(-1, *(1 for _ in tensor.axes[1:]))
        for tensor in to
        if is_float(tensor) and tensor.axes[:1] == ("batch",) and tensor.name in outputs
    }


def _into_results(row: Operation) -> Iterator[Place]:
    for place, name, hidden in _places(row):
        # What a state holds of its own past is handed on, whatever it is; the results of tokens are not to see it.
        seen = tuple(tensor for tensor in row.outputs if tensor.name != name)
        yield Place(place, with_outputs(partial(_leaking, seen, hidden, name)))


def _into_gradients(row: Operation) -> Iterator[Place]:
    for place, name, hidden in _places(row):
        floats = (tensor for tensor in row.inputs if is_float(tensor))
        to = tuple(TensorSchema(f"grad.{tensor.name}", tensor.axes, "state") for tensor in floats)
        yield Place(place, with_outputs(partial(_leaking, to, hidden, name)))


KINDS: Final = (
    Kind("garbage-leaks", "what is hidden is multiplied by zero, for the results", "hidden", _into_results),
    Kind("garbage-in-gradients", "what is hidden is multiplied by zero, for the gradients", "hidden", _into_gradients),
)
