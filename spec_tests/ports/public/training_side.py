"""Packages of the training side: Grokfast and orthogonal gradients, a step at a time on one parameter."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from spec_tests.port import Numerics, Op
from spec_tests.ports.public.iteration import EPS, TRIPLES, each
from spec_tests.ports.public.torch_port import NO_RANGE, Config, Function, Tensors, TorchPort, values

Step = Callable[[nn.Parameter], Tensor]
"""From a parameter with a gradient, which it filters in place, to the average that it keeps."""


def filtered(x: Tensors, step: Step, parameter: nn.Parameter) -> Tensors:
    """Return averages and filtered gradients of a sequence of gradients."""
    averages, gradients = [], []
    for gradient in x["gradients"]:
        parameter.grad = gradient.clone()
        averages.append(step(parameter).clone())
        gradients.append(parameter.grad)
    if not averages:
        return {"averages": x["gradients"], "filtered": x["gradients"]}
    return {"averages": torch.stack(averages), "filtered": torch.stack(gradients)}


class GrokfastPytorch(TorchPort):
    """grokfast-pytorch: the filter in front of its AdamW, which filters `grad` in place.

    At strength 0 it filters nothing and keeps no average; there the average shown is the one that it keeps at 1.
    """

    distribution = "grokfast-pytorch"
    numerics = (Numerics.F64, Numerics.F32)

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return the filter."""
        make = import_module("grokfast_pytorch").GrokFastAdamW

        def grokfast(config: Config, x: Tensors) -> Tensors:
            strength = config["strength"]
            found = _adam(make, config["alpha"], strength, x)
            return found if strength else found | {"averages": _adam(make, config["alpha"], 1.0, x)["averages"]}

        return {Op.GROKFAST: grokfast}


def _adam(make: Any, alpha: float, strength: float, x: Tensors) -> Tensors:
    parameter = nn.Parameter(torch.zeros(x["gradients"].shape[1:], dtype=x["gradients"].dtype))
    adam = make([parameter], grokfast_alpha=alpha, grokfast_lamb=strength)

    def step(of: nn.Parameter) -> Tensor:
        adam.step()
        average: Tensor = adam.state[of].get("grok_exp_avg", of.grad)
        return average

    return filtered(x, step, parameter)


class PytorchOptimizer(TorchPort):
    """pytorch-optimizer: its Newton-Schulz in the precision of the matrix, Grokfast, and orthogonal gradients.

    Orthogonal gradients get the length of the gradient back: `rescale`. No derivative is asked: the iteration writes
    into tensors of its own (`out=`), and refuses a matrix that requires a gradient.
    """

    distribution = "pytorch-optimizer"
    numerics = (Numerics.F64, Numerics.F32)
    only = values(coefficients="quintic cubic", start="clamp", rescale="True")
    without = NO_RANGE

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return the iteration, the filter and the projection."""
        iteration: Any = import_module("pytorch_optimizer.optimizer.utils.matrix").zero_power_via_newton_schulz_5
        gradfilter = import_module("pytorch_optimizer.optimizer.grokfast").gradfilter_ema
        base: Any = import_module("pytorch_optimizer.base.optimizer").BaseOptimizer

        def orthogonal(config: Config, matrix: Tensor) -> Tensor:
            weights = TRIPLES[config["coefficients"]]
            found: Tensor = iteration(matrix, config["steps"], eps=EPS, weights=weights, dtype=matrix.dtype)
            return found

        def grokfast(config: Config, x: Tensors) -> Tensors:
            kept: dict[str, Tensor] = {}
            model = nn.Module()
            model.gain = nn.Parameter(torch.zeros(x["gradients"].shape[1:], dtype=x["gradients"].dtype))

            def step(of: nn.Parameter) -> Tensor:
                gradfilter(model, kept, alpha=config["alpha"], lamb=config["strength"])
                return kept["gain"]

            return filtered(x, step, model.gain)

        def perp_grad(config: Config, x: Tensors) -> Tensors:
            del config
            parameter = nn.Parameter(x["weight"])
            parameter.grad = x["gradient"].clone()
            base.apply_orthogonal_gradients([parameter])
            return {"filtered": parameter.grad}

        return {Op.NEWTON_SCHULZ: each(orthogonal), Op.GROKFAST: grokfast, Op.PERP_GRAD: perp_grad}
