"""`titans-pytorch` (PyPI, the `bench` extra) as a port: its own Newton-Schulz and its own `NeuralMemory`, unchanged.

`NeuralMemory` projects one sequence to keys, values, queries and gates. Here the sequence carries them and the
projections, which are attributes of the module, pick them out; losses, gradients, scans and reads are the package's.

What is said in its terms
    retention alpha      1 - decay; decay and momentum are sigmoids in the package, so they enter as logits
    step size eta        the weight of a token's loss, as is; the window's only weight multiplies it
    chunk b              `batch_size` = b (the interval at which weights are taken over) with `chunk_size` = 1
    loss                 `store_memory_loss_fn` = loss_scale ||M(k) - v||^2 in place of its default, the mean
    a document           a new state; each row is run by itself, because rows differ in phase
    keys, values         padded with zeros to one width, which the package demands of its memories

Not in the package, so answered as unsupported: a window of more than one token, the rules `omega`, `delta` and `atlas`,
`mass`, reads before the write, coefficient sets that change from step to step. docs/porting-titans-pytorch.md tells
what the suite finds.
"""

from collections.abc import Mapping
from functools import partial
from importlib.metadata import version

import torch

from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import GRADIENTS, SPEC_VERSION, Array, Declaration, Numerics, Op, Scalar, UnsupportedError
from spec_tests.ports.assembled import assembled
from spec_tests.ports.public.torch_port import with_gradients
from spec_tests.ports.titans_pytorch.tensors import COEFFICIENTS, Function


class TitansPytorchPort:
    """The package behind the port contract: in float64 and float32, with gradients by autograd."""

    functions: Mapping[Op, Function] = assembled(__package__, "FUNCTIONS")

    def declare(self) -> Declaration:
        """Declare what the package has code for."""
        return Declaration(
            name="titans-pytorch",
            version=version("titans-pytorch"),
            language="python (torch)",
            spec_version=SPEC_VERSION,
            operations=frozenset(self.functions),
            capabilities=frozenset({GRADIENTS}),
            numerics=(Numerics.F64, Numerics.F32),
            matmul_precision="full",
            # `atlas_appendix` is there with five quintic steps alone, which no key says by itself.
            only={
                "rule": frozenset({"titans"}),
                "read": frozenset({"post"}),
                "step_scale": frozenset({"literal"}),
                "coefficients": frozenset(COEFFICIENTS),
                "start": frozenset({"clamp"}),
            },
            longest={"window": 1},
        )

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Run one operation; with cotangents among the inputs, return the derivatives too."""
        del numerics, taps  # Arrays come in the type of the profile; the package shows no intermediate values.
        if op not in self.functions:
            raise UnsupportedError(f"titans-pytorch has no operation '{op}'", capability=op)
        row = OPERATIONS[Op(op)]
        tensors = {tensor.name: torch.tensor(inputs[tensor.name]) for tensor in row.inputs}
        cotangents = {tensor.name: inputs.get(f"cotangent.{tensor.name}") for tensor in row.outputs}
        asked = {name: torch.tensor(value) for name, value in cotangents.items() if value is not None}
        function = partial(self.functions[row.op], config)
        outputs = with_gradients(row, function, tensors, asked) if asked else function(tensors)
        return {name: value.detach().numpy() for name, value in outputs.items()}
