"""The reference implementation as a port: one small function an operation, numpy in and out, derivatives by autograd.

The only place where the specification meets `atlas_ref`. Functions take and return named tensors in the precision of
the run.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import torch
from torch import Tensor

from atlas_ref import __version__
from atlas_ref.functional.attention import sliding_window_attention
from atlas_ref.functional.convolution import short_convolution
from atlas_ref.functional.gain import effective_gain
from atlas_ref.functional.m3 import m3_alpha, m3_mix
from atlas_ref.functional.newton_schulz import newton_schulz
from atlas_ref.functional.normalize import l2_normalize
from atlas_ref.functional.polynomial import polynomial_features
from atlas_ref.functional.qk_projection import frobenius_tanh, qk_project
from spec_tests.contract.schema import Operation
from spec_tests.operations import OPERATIONS
from spec_tests.port import (
    BLOCK_GRADIENTS,
    GRADIENTS,
    SPEC_VERSION,
    Array,
    Declaration,
    Numerics,
    Op,
    Scalar,
    UnsupportedError,
)
from spec_tests.ports.reference_blocks import BLOCKS
from spec_tests.ports.reference_memory import MEMORIES, TAPS, Config, Function, Tensors
from spec_tests.ports.reference_training import AROUND


def _newton_schulz(config: Config, x: Tensors) -> Tensors:
    return {"orthogonal": newton_schulz(x["matrix"], config["steps"], config["coefficients"])}


def _polynomial_features(config: Config, x: Tensors) -> Tensors:
    return {"features": polynomial_features(x["x"], x["coefficients"], config["basis"])}


def _l2_normalize(config: Config, x: Tensors) -> Tensors:
    return {"y": l2_normalize(x["x"], config["eps"])}


def _short_conv(_: Config, x: Tensors) -> Tensors:
    y, tail = short_convolution(x["x"], x["weight"], x["tail"], x["position"])
    return {"y": y, "tail": tail}


def _qk_projection(_: Config, x: Tensors) -> Tensors:
    projected, carry, frobenius = qk_project(x["queries"], x["keys"], x["carry"], x["position"])
    return {"projected": projected, "carry": carry, "frobenius": frobenius}


def _qk_gate(_: Config, x: Tensors) -> Tensors:
    return {"gated": frobenius_tanh(x["projected"], x["frobenius"], x["log_gain"], x["scale"])}


def _sliding_window_attention(config: Config, x: Tensors) -> Tensors:
    output, cache_keys, cache_values = sliding_window_attention(**x, window=config["window"])
    return {"output": output, "cache_keys": cache_keys, "cache_values": cache_values}


def _m3_mix(config: Config, x: Tensors) -> Tensors:
    mixing = m3_alpha(x["crossings"], config["warmup_crossings"], x["alpha_logit"])
    return {"mixed": m3_mix(x["previous"], x["initial"], mixing), "mixing": mixing}


def _optimizer_step(config: Config, x: Tensors) -> Tensors:
    parameter = torch.nn.Parameter(x["log_gain"].clone())
    optimiser = torch.optim.AdamW(
        [parameter],
        lr=config["learning_rate"],
        betas=(config["beta1"], config["beta2"]),
        eps=config["eps"],
        weight_decay=config["weight_decay"],
    )
    gains = []
    for gradient in x["gradient"]:
        parameter.grad = gradient
        optimiser.step()
        gains.append(effective_gain(parameter.detach()))
    return {"gain": torch.stack(gains)}


PRIMITIVES: Final[Mapping[Op, Function]] = {
    Op.NEWTON_SCHULZ: _newton_schulz,
    Op.POLYNOMIAL_FEATURES: _polynomial_features,
    Op.L2_NORMALIZE: _l2_normalize,
    Op.SHORT_CONV: _short_conv,
    Op.QK_PROJECTION: _qk_projection,
    Op.QK_GATE: _qk_gate,
    Op.SLIDING_WINDOW_ATTENTION: _sliding_window_attention,
    Op.M3_MIX: _m3_mix,
    Op.OPTIMIZER_STEP: _optimizer_step,
}


class ReferencePort:
    """`atlas_ref` behind the port contract."""

    functions: Mapping[Op, Function] = {**PRIMITIVES, **MEMORIES, **AROUND, **BLOCKS}

    def declare(self) -> Declaration:
        """Declare every operation implemented here, at every precision, with gradients."""
        return Declaration(
            name="atlas_ref",
            version=__version__,
            language="python (torch)",
            spec_version=SPEC_VERSION,
            operations=frozenset(self.functions),
            capabilities=frozenset({GRADIENTS, BLOCK_GRADIENTS}),
            numerics=tuple(Numerics),
            matmul_precision="full",
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
        if op not in self.functions:
            raise UnsupportedError(f"the reference has no operation '{op}'", capability=op)
        row = OPERATIONS[Op(op)]
        function = partial(self.functions[row.op], config)
        tensors = {tensor.name: _tensor(row, tensor.name, inputs[tensor.name], numerics) for tensor in row.inputs}
        cotangents = {
            name.removeprefix("cotangent."): torch.tensor(value)
            for name, value in inputs.items()
            if name.startswith("cotangent.")
        }
        with torch.no_grad():
            traces = TAPS[row.op](config, tensors) if taps and row.op in TAPS else {}
            shown = {name: trace for name, trace in traces.items() if name in taps}
            if not cotangents:
                return _arrays(function(tensors) | shown, numerics)
        return _arrays(_with_gradients(function, tensors, cotangents) | shown, numerics)


def _tensor(row: Operation, name: str, value: Array, numerics: Numerics) -> Tensor:
    tensor = torch.tensor(value)
    return tensor.bfloat16() if numerics is Numerics.BF16_IO and row.role(name) == "activation" else tensor


def _arrays(tensors: Tensors, numerics: Numerics) -> dict[str, Array]:
    """Convert to numpy; bfloat16 has no numpy type and travels as float32."""
    return {
        name: tensor.detach().numpy() if not tensor.is_floating_point() else _floats(tensor, numerics)
        for name, tensor in tensors.items()
    }


def _floats(tensor: Tensor, numerics: Numerics) -> Array:
    array: Array = tensor.detach().to(torch.float64 if numerics is Numerics.F64 else torch.float32).numpy()
    return array


def _with_gradients(function: Callable[[Tensors], Tensors], inputs: Tensors, cotangents: Tensors) -> Tensors:
    leaves = {name: x.requires_grad_() for name, x in inputs.items() if x.is_floating_point()}
    outputs = function(inputs)
    loss = torch.stack([(outputs[name] * cotangent).sum() for name, cotangent in cotangents.items()]).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return outputs | {f"grad.{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}
