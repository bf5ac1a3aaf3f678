"""What a case is made from: the question, why it is asked, the sentences it holds. The answer comes at fill time."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.version import FIRST
from spec_tests.port import PROFILES, Array, Numerics, Op, Scalar, round_to_bf16


@dataclass(frozen=True)
class Source:
    """One question. `inputs` need not be rounded: `settled` does that.

    `numerics`: the precision profiles in which it is asked, where not all. `beside`: what the case is for if it is not
    for a seeded fault. `traced`: the state after every token is stored too, where the operation has one.
    `since`: the first version of the specification that has it.
    """

    id: str
    op: Op
    requirements: tuple[str, ...]
    why: str
    config: Mapping[str, Scalar]
    inputs: Mapping[str, Array]
    cotangents: Mapping[str, Array] = field(default_factory=dict)
    revision: int = 1
    numerics: tuple[Numerics, ...] = PROFILES
    beside: bool = False
    traced: bool = True
    since: str = FIRST

    def settled(self) -> dict[str, Array]:
        """Return the inputs as they are stored: activations as bfloat16 numbers, the others as float32 numbers."""
        inputs: dict[str, Array] = {}
        for tensor in OPERATIONS[self.op].inputs:
            value = self.inputs[tensor.name]
            if tensor.role == "index":
                inputs[tensor.name] = np.array(value, dtype=np.int64)
            else:
                cast = np.array(value, dtype=np.float32)
                inputs[tensor.name] = round_to_bf16(cast) if tensor.role == "activation" else cast
        return inputs

    def asked(self) -> dict[str, Array]:
        """Return the cotangents as they are stored: float32 numbers."""
        return {name: np.array(value, dtype=np.float32) for name, value in self.cotangents.items()}

    def sha256(self) -> str:
        """Return a hash of the question: operation, configuration, inputs and cotangents."""
        digest = hashlib.sha256(json.dumps([self.op, dict(self.config)], sort_keys=True).encode())
        arrays = self.settled() | {f"cotangent.{name}": value for name, value in self.asked().items()}
        for name, value in sorted(arrays.items()):
            digest.update(f"{name} {value.dtype.str} {value.shape}".encode())
            digest.update(value.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Family:
    """The cases of one operation under the name of one chapter; numbers are permanent."""

    chapter: str
    op: Op
    numerics: tuple[Numerics, ...] = PROFILES

    def case(
        self,
        number: int,
        requirements: str,
        why: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        cotangents: Mapping[str, Array] | None = None,
        *,
        beside: bool = False,
        numerics: tuple[Numerics, ...] = (),
        traced: bool = True,
        since: str = FIRST,
    ) -> Source:
        """Return case `ATL-<chapter>-<number>`, which holds the space-separated sentences.

        It is asked in the profiles of the family, unless others are named.
        """
        name = f"ATL-{self.chapter}-{number:03}"
        held = tuple(requirements.split())
        question = (name, self.op, held, why, config, inputs, cotangents or {})
        return Source(*question, beside=beside, numerics=numerics or self.numerics, traced=traced, since=since)
