"""Arrays in safetensors files: written plainly, read as from a stranger.

What a port wrote is read only when it is a regular file of a size that the case allows, and then from memory, so that
it cannot change meanwhile.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.outcome import FormError
from spec_tests.port import Array, Op, Scalar

UNKNOWN_AXIS: Final = 1 << 16
"""The length allowed for an axis of an output that neither an input nor the configuration determines."""
SLACK: Final = 4
ROOM: Final = 1 << 20
"""Bytes allowed beside the arrays: the header, and arrays that the table does not ask for (a clearer error follows)."""


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays of any layout as one file; OSError where the file cannot be written."""
    # The library writes memory as it lies, so arrays are made C-contiguous first; `ascontiguousarray` loses shape [].
    path.write_bytes(save({name: np.require(value, requirements="C") for name, value in arrays.items()}))


def read_arrays(path: Path, limit: int) -> dict[str, Array]:
    """Read an untrusted file of at most `limit` bytes; FormError that says what is wrong with it."""
    data = _bytes(path, limit)
    try:
        return dict(load(data))
    except KeyError as error:
        raise FormError(f"the output file holds an array of type {error}; valid are F64, F32 and I64") from error
    except (SafetensorError, ValueError) as error:
        reason = str(error).removeprefix("Error while deserializing: ")
        raise FormError(f"the output file ({len(data):,} bytes) is not valid safetensors: {reason}") from error


def _bytes(path: Path, limit: int) -> bytes:
    try:
        # Without O_NONBLOCK the opening of a named pipe would wait for its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise FormError("the answer is 'ok', but the output file was not written") from None
    except OSError as error:
        raise FormError(f"the output file cannot be opened: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise FormError("the output file is not a regular file")
        if found.st_size > limit:
            raise FormError(f"the output file has {found.st_size:,} bytes; this case allows {limit:,}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(found.st_size)
    finally:
        os.close(descriptor)


def allowed_bytes(op: str, config: Mapping[str, Scalar], inputs: Mapping[str, Array], taps: frozenset[str]) -> int:
    """Return a size that no right answer comes near: several times the outputs of the table, and a little room."""
    if op not in OPERATIONS:
        return ROOM
    row = OPERATIONS[Op(op)]
    lengths = {key: value for key, value in config.items() if isinstance(value, int)}
    for tensor in row.inputs:
        if tensor.name in inputs:
            lengths |= dict(zip(tensor.axes, inputs[tensor.name].shape, strict=False))
    elements = sum(value.size for value in inputs.values())  # No more gradients are asked for than there are inputs.
    for tensor in (*row.outputs, *(tap for tap in row.taps if tap.name in taps)):
        shape = [lengths.get(axis, lengths.get(axis.partition("-")[0], UNKNOWN_AXIS)) for axis in tensor.axes]
        elements += int(np.prod(shape, dtype=object))
    return SLACK * 8 * elements + ROOM
