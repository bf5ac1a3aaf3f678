"""What a port need not be asked: the operations, configurations, lengths, features and precisions declared absent."""

from collections.abc import Iterator, Mapping
from typing import Final

from spec_tests.contract.features import features_of
from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import BLOCK_GRADIENTS, GRADIENTS, Array, Declaration, Numerics, Op, Scalar

BLOCK_LEVEL: Final = 4


def absence(
    declaration: Declaration,
    op: Op,
    config: Mapping[str, Scalar],
    inputs: Mapping[str, Array],
    numerics: Numerics,
    *,
    gradients: bool,
) -> str | None:
    """Return why a port that declares this is not asked a question, None where it is."""
    return next(_reasons(declaration, op, config, inputs, numerics, gradients), None)


def _reasons(
    declaration: Declaration,
    op: Op,
    config: Mapping[str, Scalar],
    inputs: Mapping[str, Array],
    numerics: Numerics,
    gradients: bool,
) -> Iterator[str]:
    name = f"port '{declaration.name}'"
    if op not in declaration.operations:
        yield f"{name} declares no operation '{op}'"
    if numerics not in declaration.numerics:
        yield f"{name} does not declare the precision {numerics}"
    needed = BLOCK_GRADIENTS if OPERATIONS[op].level == BLOCK_LEVEL else GRADIENTS
    if gradients and needed not in declaration.capabilities:
        yield f"{name} does not declare '{needed}'"
    whole = {**OPERATIONS[op].usual, **config}
    for key, values in declaration.only.items():
        if key in whole and str(whole[key]) not in values:
            yield f"{name} declares {key} {' and '.join(sorted(values))} only, not '{whole[key]}'"
    for feature in features_of(op, config, inputs) if declaration.without else ():
        if feature in declaration.without:
            yield f"{name} declares itself without {feature}"
    for tensor in OPERATIONS[op].inputs:
        for axis, length in zip(tensor.axes, inputs[tensor.name].shape, strict=True):
            if length > declaration.longest.get(axis, length):
                yield f"{name} declares {axis} up to {declaration.longest[axis]}, not {length}"
