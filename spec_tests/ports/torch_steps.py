"""Training steps as people write them: torch's clipping, torch.optim.AdamW and torch.optim.Muon around the same model.

    python -m cli.main conform --port spec_tests.ports.torch_steps:TorchSteps --level L6

The loop is that of a tutorial: backward, clip_grad_norm_, one optimiser a group, a schedule. Torch's Muon keeps the
average (1 - mu) B where OPT-1 has the sum B; the adapter turns one into the other before and after.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.memory.state import StateTree
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.training.optimiser import OuterOptimiser, optimiser_of
from atlas_ref.training.schedule import learning_rate
from atlas_ref.training.step import StepResult
from spec_tests.port import PROFILES, SPEC_VERSION, Array, Declaration, Numerics, Op, Scalar, UnsupportedError
from spec_tests.ports.reference.tensors import Tensors
from spec_tests.ports.reference.train_steps import hidden_of, model_of, run_config, steps_of

NAMES: Final = ("adamw", "muon")


def step(
    model: AtlasModel, optimiser: OuterOptimiser, batch: Batch, state: StateTree, number: int, run: RunConfig
) -> StepResult:
    """Make one step of the tutorial's loop."""
    optimiser.zero_grad()
    output = model(batch.tokens, state, batch.reset)
    loss = cross_entropy(output.logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
    torch.autograd.backward(loss)
    norm = nn.utils.clip_grad_norm_(model.parameters(), run.optim.max_norm)
    rate = learning_rate(number, run)
    optimiser.step(rate / run.optim.learning_rate)
    return StepResult(loss.item(), norm.item(), rate, output._replace(state=output.state.detach()), {})


def _shares(optimiser: OuterOptimiser, share: float) -> None:
    """Multiply every buffer of Muon."""
    if "muon" in optimiser.parts:
        for kept in optimiser.parts["muon"].state.values():
            kept["momentum_buffer"] = share * kept["momentum_buffer"]


class _AsAverages:
    """Torch's optimisers, whose buffers are sums outside of a step and averages in it."""

    def __init__(self, inner: OuterOptimiser, momentum: float) -> None:
        self.inner, self.share = inner, 1.0 - momentum

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def step(self, factor: float) -> None:
        """Step between the two meanings of a buffer."""
        _shares(self.inner, self.share)
        self.inner.step(factor)
        _shares(self.inner, 1.0 / self.share)


class TorchSteps:
    """The loop as a port."""

    def declare(self) -> Declaration:
        """Declare steps with AdamW, and with Muon for hidden matrices."""
        return Declaration(
            name="torch.optim",
            version=str(torch.__version__),
            language="python (torch)",
            spec_version=SPEC_VERSION,
            operations=frozenset({Op.TRAIN_STEPS}),
            capabilities=frozenset(),
            numerics=PROFILES,
            matmul_precision="full",
            only={"optimizer": frozenset(NAMES)},
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
        """Run the steps."""
        del taps, numerics
        if op != Op.TRAIN_STEPS or config["optimizer"] not in NAMES:
            raise UnsupportedError(f"torch.optim has no {op} with {dict(config)}", capability=op)
        x: Tensors = {name: torch.tensor(value) for name, value in inputs.items()}
        run = run_config(config, x)
        model, named = model_of(run, x)
        trained = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
        optim = run.optim.model_copy(update={"name": config["optimizer"]})
        inner: Any = _AsAverages(optimiser_of(trained, hidden_of(named), optim), float(config["momentum"]))
        found = steps_of(config, x, run, model, named, inner, step)
        return {name: _array(value) for name, value in found.items()}


class TorchAdamW(TorchSteps):
    """The loop with AdamW alone."""

    def declare(self) -> Declaration:
        """Declare steps with AdamW."""
        return replace(super().declare(), only={"optimizer": frozenset({"adamw"})})


def _array(value: Tensor) -> Array:
    return value.numpy()
