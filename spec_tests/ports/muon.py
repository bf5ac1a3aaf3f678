"""Muon as people run it, behind the port contract: torch.optim.Muon, optax, and the plain iteration in bfloat16.

    python -m cli.main conform --port spec_tests.ports.muon:TorchMuon --level L6 --numerics bf16_inside

torch.optim.Muon keeps the average (1 - mu) B where OPT-1 has the sum B, so the adapter hands it (1 - mu) times the
buffer, and (1 - mu) times 1e-7 as the bound of the norm: all of U = NS(G + mu B) then is as the sentence says.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import numpy as np
import torch

from spec_tests.port import SPEC_VERSION, Array, Declaration, Feature, Numerics, Op, Scalar, UnsupportedError

Config = Mapping[str, Any]
TRIPLES: Final = {"quintic": (3.4445, -4.7750, 2.0315), "cubic": (1.5, -0.5, 0.0)}


class _Muon:
    """What the three share: one triple of coefficients for all steps, no gradients."""

    name = ""
    version = torch.__version__
    operations: tuple[Op, ...] = ()
    start = "add"
    numerics = Numerics.BF16_INSIDE
    without: frozenset[str] = frozenset()

    def declare(self) -> Declaration:
        """Declare the step and the iteration, with the start that the code has."""
        return Declaration(
            name=self.name,
            version=str(self.version),
            language="python",
            spec_version=SPEC_VERSION,
            operations=frozenset(self.operations),
            capabilities=frozenset(),
            numerics=(self.numerics,),
            matmul_precision="bfloat16" if self.numerics is Numerics.BF16_INSIDE else "full",
            only={"coefficients": frozenset(TRIPLES), "start": frozenset({self.start})},
            without=self.without,
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
        """Run the iteration or the step."""
        del numerics, taps
        if op not in self.operations or config["coefficients"] not in TRIPLES or config["start"] != self.start:
            raise UnsupportedError(f"{self.name} has no {op} with {dict(config)}", capability=op)
        return self.step(config, inputs) if op == Op.MUON_STEP else self.iteration(config, inputs)

    def step(self, config: Config, x: Mapping[str, Array]) -> dict[str, Array]:
        """Return weight and buffer after one step."""
        raise NotImplementedError

    def iteration(self, config: Config, x: Mapping[str, Array]) -> dict[str, Array]:
        """Return Newton-Schulz of every matrix of a batch."""
        raise NotImplementedError


def zeropower(matrix: torch.Tensor, triple: tuple[float, float, float], steps: int) -> torch.Tensor:
    """Return the iteration as it is copied from repository to repository: in bfloat16, started at G / (norm + 1e-7)."""
    a, b, c = triple
    x = matrix.bfloat16()
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: torch.Tensor = x.T if matrix.shape[0] > matrix.shape[1] else x
    return result.float()


class PlainMuon(_Muon):
    """The iteration in bfloat16 and a step around it in float32."""

    name = "plain-muon"
    operations = (Op.NEWTON_SCHULZ, Op.MUON_STEP)

    def iteration(self, config: Config, x: Mapping[str, Array]) -> dict[str, Array]:
        """Return the iteration of each matrix."""
        triple, steps = TRIPLES[config["coefficients"]], config["steps"]
        return {"orthogonal": np.stack([zeropower(torch.tensor(m), triple, steps).numpy() for m in x["matrix"]])}

    def step(self, config: Config, x: Mapping[str, Array]) -> dict[str, Array]:
        """Return the step of OPT-1 with this iteration."""
        weight, buffer, gradient = (torch.tensor(x[name]) for name in ("weight", "buffer", "gradient"))
        buffer = config["momentum"] * buffer + gradient
        triple, steps = TRIPLES[config["coefficients"]], config["newton_schulz_steps"]
        update = zeropower(gradient + config["momentum"] * buffer, triple, steps)
        rate, (rows, columns) = config["learning_rate"], weight.shape
        weight = (1 - rate * config["weight_decay"]) * weight - rate * max(1.0, rows / columns) ** 0.5 * update
        return {"weight": weight.numpy(), "buffer": buffer.numpy()}


class TorchMuon(_Muon):
    """torch.optim.Muon, one step."""

    name = "torch.optim.Muon"
    operations = (Op.MUON_STEP,)
    start = "clamp"

    def step(self, config: Config, x: Mapping[str, Array]) -> dict[str, Array]:
        """Return the optimiser's step, its average of gradients turned into the sum."""
        share = 1.0 - config["momentum"]
        weight = torch.nn.Parameter(torch.tensor(x["weight"]))
        optimiser = torch.optim.Muon(
            [weight],
            lr=config["learning_rate"],
            weight_decay=config["weight_decay"],
            momentum=config["momentum"],
            ns_coefficients=TRIPLES[config["coefficients"]],
            ns_steps=config["newton_schulz_steps"],
            eps=share * 1e-7,
            adjust_lr_fn="original",
        )
        average = share * torch.tensor(x["buffer"])
        optimiser.state[weight]["momentum_buffer"] = average
        weight.grad = torch.tensor(x["gradient"])
        step: Any = optimiser.step
        step()
        return {"weight": weight.detach().numpy(), "buffer": (average / share).numpy()}


class OptaxMuon(_Muon):
    """The iteration of optax, in float32; ImportError where the package is absent."""

    name = "optax"
    operations = (Op.NEWTON_SCHULZ,)
    numerics = Numerics.F32
    without = frozenset({Feature.RANGE})

    def __init__(self) -> None:
        self.version = import_module("optax").__version__

    def iteration(self, config: Config, x: Mapping[str, Array]) -> dict[str, Array]:
        """Return the iteration of each matrix."""
        from jax import numpy as jnp

        orthogonalize = import_module("optax.contrib._muon").orthogonalize_via_newton_schulz
        triple, steps = jnp.asarray(TRIPLES[config["coefficients"]]), config["steps"]
        found = [orthogonalize(jnp.asarray(matrix), triple, steps, eps=1e-7) for matrix in x["matrix"]]
        return {"orthogonal": np.stack([np.asarray(each) for each in found])}
