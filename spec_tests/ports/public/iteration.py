"""Newton-Schulz of the packages that have it as a function of one matrix, and Muon's step around it."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

import torch
from torch import Tensor, nn

from spec_tests.port import Numerics, Op
from spec_tests.ports.public.torch_port import NO_RANGE, Config, Function, Tensors, TorchPort, values

TRIPLES: Final = {"quintic": (3.4445, -4.7750, 2.0315), "cubic": (1.5, -0.5, 0.0)}
"""The sets that are one triple for all steps."""
EPS: Final = 1e-7


def each(iteration: Callable[[Config, Tensor], Tensor]) -> Function:
    """Return the operation `newton_schulz` that an iteration of one matrix makes."""

    def answer(config: Config, x: Tensors) -> Tensors:
        found = [iteration(config, matrix) for matrix in x["matrix"]]
        return {"orthogonal": torch.stack(found).to(x["matrix"].dtype) if found else x["matrix"]}

    return answer


class NestedLearning(TorchPort):
    """nested-learning: the cubic iteration X (3 I - X^T X) / 2 of its M3 optimizer, started at G / (norm + eps)."""

    distribution = "nested-learning"
    numerics = (Numerics.F64, Numerics.F32)
    gradients = True
    only = values(coefficients="cubic", start="add")
    without = NO_RANGE

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return the iteration."""
        function = import_module("nested_learning.optim.m3")._newton_schulz
        return {Op.NEWTON_SCHULZ: each(lambda config, matrix: function(matrix, config["steps"], eps=EPS))}


class GramNewtonSchulz(TorchPort):
    """gram-newton-schulz as shipped: float16 inside, without its kernels and without torch.compile.

    A rectangle is iterated through its Gram matrix, restarted after the second step, as the package does by default;
    without a step it fails.
    """

    distribution = "gram-newton-schulz"
    numerics = (Numerics.BF16_INSIDE,)
    matmul_precision = "float16"
    only = values(coefficients="quintic cubic", start="add", steps="1 2 3 4 5 6 7 8 9 10")

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return the iteration."""
        make = import_module("gram_newton_schulz.gram_newton_schulz").GramNewtonSchulz

        def iteration(config: Config, matrix: Tensor) -> Tensor:
            triples = [list(TRIPLES[config["coefficients"]])] * config["steps"]
            options: dict[str, Any] = {"ns_use_kernels": False, "compile_kwargs": None}
            orthogonal: Tensor = make(ns_epsilon=EPS, ns_coefficients=triples, **options)(matrix)
            return orthogonal

        return {Op.NEWTON_SCHULZ: each(iteration)}


class MuonOptimizer(TorchPort):
    """muon-optimizer, Muon as its author publishes it: bfloat16 inside, five quintic steps, an averaged buffer.

    The buffer is (1 - mu) times that of OPT-1, and the 1e-7 of the start therefore weighs 1 / (1 - mu) times as much.
    """

    distribution = "muon-optimizer"
    numerics = (Numerics.BF16_INSIDE,)
    matmul_precision = "bfloat16"
    only = values(coefficients="quintic", start="add", newton_schulz_steps="5")

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return the iteration and the step."""
        muon = import_module("muon")

        def step(config: Config, x: Tensors) -> Tensors:
            share = 1.0 - config["momentum"]
            weight = nn.Parameter(x["weight"])
            rates = {"lr": config["learning_rate"], "weight_decay": config["weight_decay"]}
            optimiser = muon.SingleDeviceMuon([weight], momentum=config["momentum"], **rates)
            average = optimiser.state[weight]["momentum_buffer"] = share * x["buffer"]
            weight.grad = x["gradient"]
            optimiser.step()
            return {"weight": weight.detach(), "buffer": average / share}

        iteration = each(lambda config, matrix: muon.zeropower_via_newtonschulz5(matrix, config["steps"]))
        return {Op.NEWTON_SCHULZ: iteration, Op.MUON_STEP: step}


class EmergingOptimizers(TorchPort):
    """emerging-optimizers: its `newton_schulz` in float32, with the sets of coefficients handed over as arguments."""

    distribution = "emerging-optimizers"
    numerics = (Numerics.F32,)
    gradients = True
    only = values(coefficients="quintic cubic", start="clamp")
    without = NO_RANGE

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return the iteration."""
        function = import_module("emerging_optimizers.orthogonalized_optimizers.muon_utils").newton_schulz

        def iteration(config: Config, matrix: Tensor) -> Tensor:
            sets = [TRIPLES[config["coefficients"]]]
            found: Tensor = function(matrix, config["steps"], "custom", custom_coefficient_sets=sets, eps=EPS)
            return found

        return {Op.NEWTON_SCHULZ: each(iteration)}


class OpenTitans(TorchPort):
    """open-titans: `newton_schulz5` of its optimizer, in the precision of the matrix."""

    distribution = "open-titans"
    numerics = (Numerics.F64, Numerics.F32)
    gradients = True
    only = values(coefficients="quintic", start="clamp")
    without = NO_RANGE

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return the iteration."""
        function = import_module("open_titans.optim.muon").newton_schulz5
        return {Op.NEWTON_SCHULZ: each(lambda config, matrix: function(matrix, config["steps"], eps=EPS))}
