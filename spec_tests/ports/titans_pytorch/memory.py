"""The package's `NeuralMemory`, its projections replaced; losses, gradients, scans and reads are its own."""

from typing import Final

from spec_tests.ports.public import neural_memory as generic
from spec_tests.ports.titans_pytorch.package import MemoryMLP, NeuralMemory, NeuralMemState
from spec_tests.ports.titans_pytorch.tensors import Config, Tensors, demand


def _demand_supported(config: Config, window: int) -> None:
    """Raise UnsupportedError for what the package does not have."""
    rule = config["rule"]
    demand(rule in ("titans", "atlas_appendix"), f"there is no rule '{rule}'", f"rule {rule}")
    demand(window == 1, "a write looks at one token", "window")
    demand(config["read"] == "post", "reads come after the write", "read pre")
    demand(config["step_scale"] == "literal", "steps are not normalised by mass", "step_scale mass")
    if rule == "atlas_appendix":
        five = (config["coefficients"], config["newton_schulz_steps"]) == ("quintic", 5)
        demand(five, "surprises pass through five quintic steps", "coefficients")


def neural_memory(config: Config, width: int, hidden: int) -> NeuralMemory:
    """Return the package's memory for a rule, its projections replaced; the sequence is k, v, q, eta, two logits."""
    mlp = config["architecture"] == "mlp"
    network = MemoryMLP(width, depth=2, expansion_factor=(hidden + 0.5) / width) if mlp else MemoryMLP(width, 1)
    memory = NeuralMemory(
        width,
        chunk_size=1,
        batch_size=config["chunk"],
        model=generic.Residual(network) if mlp else network,
        store_memory_loss_fn=lambda read, value: config["loss_scale"] * (read - value).pow(2).sum(-1),
        adaptive_step_transform=lambda step: step,
        spectral_norm_surprises=config["rule"] == "atlas_appendix",
        pre_rmsnorm=False,
        mem_model_norm_add_residual=False,
    )
    generic.replace_projections(memory, width)
    return memory


PACKAGE: Final = generic.Package(neural_memory, NeuralMemState)


def remember(config: Config, x: Tensors, *, one_by_one: bool) -> Tensors:
    """Return what a call of the memory gives; UnsupportedError for what the package does not have."""
    _demand_supported(config, x["window_weights"].shape[-1])
    return generic.remember(PACKAGE, config, x, one_by_one=one_by_one)
