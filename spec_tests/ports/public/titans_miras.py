"""python-titans-miras: its `NeuralMemory`, a fork of the one of titans-pytorch, and its `newtonschulz5`.

Projections are replaced and gates handed over as for titans-pytorch (`spec_tests.ports.titans_pytorch`). Its loss is
the mean over the width w of (M(k) - v)^2: eta' = loss_scale w eta. Its Newton-Schulz returns what has three axes or
fewer as it is.
"""

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

from torch import Tensor

from spec_tests.port import Feature, Numerics, Op
from spec_tests.ports.public import neural_memory
from spec_tests.ports.public.documents import TOKENS
from spec_tests.ports.public.iteration import EPS, TRIPLES, each
from spec_tests.ports.public.torch_port import Config, Function, Tensors, TorchPort, values


def make(config: Config, width: int, hidden: int) -> Any:
    """Return its memory of a matrix, or with a `hidden` width of two layers beside the input."""
    package: Any = import_module("titans_miras.neural_memory")
    mlp = partial(package.MemoryMLP, width)
    # Truncated in the package: half an entry more.
    model = neural_memory.Residual(mlp(2, (hidden + 0.5) / width)) if hidden else mlp(1)
    fields = {"pre_rmsnorm": False, "mem_model_norm_add_residual": False}
    memory = package.NeuralMemory(
        package.NeuralMemoryConfig(dim=width, chunk_size=1, batch_size=config["chunk"], **fields),
        adaptive_step_transform=lambda step: config["loss_scale"] * width * step,
        model=model,
    )
    neural_memory.replace_projections(memory, width)
    return memory


def _remember(config: Config, x: Tensors, *, one_by_one: bool) -> Tensors:
    package = neural_memory.Package(make, import_module("titans_miras.neural_memory").NeuralMemState)
    return neural_memory.remember(package, config, x, one_by_one=one_by_one)


def _step(config: Config, x: Tensors) -> Tensors:
    outputs = _remember(config, x | {name: x[name].unsqueeze(1) for name in TOKENS if name in x}, one_by_one=True)
    return outputs | {"reads": outputs["reads"].squeeze(1)}


class TitansMiras(TorchPort):
    """The memory of the rule `titans` over single tokens, and the iteration from a norm that is clamped."""

    distribution = "python-titans-miras"
    numerics = (Numerics.F64, Numerics.F32)
    gradients = True
    only = values(rule="titans", read="post", step_scale="literal", coefficients="quintic cubic", start="clamp")
    longest: Mapping[str, int] = {"window": 1}
    without = frozenset({Feature.RANGE})

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return the forms of the memory, and the iteration."""
        iteration = import_module("titans_miras.neural_memory").newtonschulz5

        def orthogonal(config: Config, matrix: Tensor) -> Tensor:
            coefficients = TRIPLES[config["coefficients"]]
            found: Tensor = iteration(matrix[None, None], config["steps"], eps=EPS, coefs=coefficients)
            return found[0, 0]

        document = partial(_remember, one_by_one=False)
        return {
            Op.NEWTON_SCHULZ: each(orthogonal),
            Op.MEMORY_STEP: _step,
            Op.MEMORY_SCAN: partial(_remember, one_by_one=True),
            Op.MEMORY_CHUNKED: document,
            Op.MEMORY_GRAD: document,
        }
