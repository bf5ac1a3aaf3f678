"""What the parameters of the model are, and which of them learn."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from atlas_ref.blocks.block import Block
from atlas_ref.blocks.gates import GateHeads
from atlas_ref.config import load_config, preset_names
from atlas_ref.config.cognate import CognateConfig
from atlas_ref.config.model import ModelConfig
from atlas_ref.models.atlas import AtlasModel
from spec_tests.package.micro.models import SMALL, TIME, VARIANTS, call, largest_difference, make_model, make_tokens
from spec_tests.package.micro.runs import micro_config
from spec_tests.sampling import in_turn

every_variant = pytest.mark.parametrize("variant", VARIANTS)
one_half, other_half = (pytest.mark.parametrize("variant", in_turn(VARIANTS, turn)) for turn in range(2))
CONSTANT = (
    "norm.weight",
    "convolution",
    "gates.projection.weight",
    "bias",
    "feature_coefficients",
    "log_gain",
    "alpha_logit",
)
"""Parameters that start at fixed numbers, whatever the seed."""


def gradients(model: AtlasModel) -> dict[str, Tensor]:
    """Return the gradient of every parameter for a next-token loss; a document begins inside the call."""
    tokens = make_tokens(2, seed=8, time=TIME + 1)
    reset = torch.zeros(2, TIME, dtype=torch.bool)
    reset[1, 6] = True
    logits = call(model, tokens[:, :-1], model.initial_state(2), reset).logits
    torch.autograd.backward(cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()))
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.numel()
    }


FOR_THE_MEMORY: dict[str, tuple[str, ...]] = {
    "mag": (),
    "mac": ("memory_input", "rows.projection", "rows.convolution", "rows.queries"),
    "mal": ("norm.",),
    "lmm": (),
}
"""Parameters of each block that nothing but its memory sees."""


def blocks(model: AtlasModel) -> Iterator[Block]:
    """Yield the block of each layer."""
    return (module for module in model.modules() if isinstance(module, Block))


@one_half
def test_full_inner_gradients_reach_every_parameter(variant: str) -> None:
    """Queries, keys and values of every head, each gate of every head, features, convolution, gain, M_0: none is dead.

    The one exception is the momentum gate of `delta`, which has none. Kills: a write under no_grad; M_0 taken from a
    detached copy; a gate that is computed and not used.
    """
    model = make_model(variant)
    found, kind = gradients(model), model.config.block

    for name, gradient in found.items():
        assert gradient.isfinite().all(), name
        assert gradient.abs().amax() > 1e-9, name
    for number, block in enumerate(blocks(model)):
        memory, heads = block.memory, block.memory.n_heads
        projection = found[f"layers.{number}.{kind}.memory.projection.weight"]
        for part in torch.split(projection, [memory.key_dim] * 2 * heads + [memory.value_dim] * heads):
            assert part.abs().amax() > 1e-9
        bias = found[f"layers.{number}.{kind}.memory.gates.projection.bias"].view(-1, heads)
        unused = {1} if variant.startswith("delta") else set()
        assert {row for row, gate in enumerate(bias) if (gate == 0.0).any()} == unused


@other_half
def test_detached_inner_gradients_stop_exactly_at_the_memory(variant: str) -> None:
    """Nothing that the memory is made of learns from it; attention, norms, gate and output projection still do.

    What nothing but the memory sees is of it too. Kills: a read that is detached and a state that is not; a detach that
    also cuts the attention or the output.
    """
    model = make_model(variant, "model.inner_grad='detached'")
    found, kind = gradients(model), model.config.block
    inside = {name for name in found if f".{kind}.memory." in name}
    parts = {name.split(f".{kind}.memory.")[1].split(".")[0] for name in inside}
    inside |= {name for name in found if any(f".{kind}.{part}" in name for part in FOR_THE_MEMORY[kind])}

    assert parts >= {
        "initial",
        "projection",
        "convolution",
        "gates",
        "feature_coefficients",
    }
    for name, gradient in found.items():
        assert (gradient == 0.0).all() if name in inside else (gradient.abs().amax() > 1e-9), name


@every_variant
def test_the_ablation_has_the_same_parameters_with_the_same_start(variant: str) -> None:
    """Kills: an ablation that is smaller, or that draws its weights in another order."""
    model, ablation = (
        AtlasModel(micro_config(*SMALL, *VARIANTS[variant], f"model.disable_memory={disabled}").model, seed=5)
        for disabled in ("false", "true")
    )
    ours, theirs = model.state_dict(), ablation.state_dict()

    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@every_variant
def test_the_seed_alone_decides_the_parameters(variant: str) -> None:
    """Kills: a weight drawn from the global generator; a weight that is left as it was allocated; a seed not read."""
    config = micro_config(*SMALL, *VARIANTS[variant]).model
    models = []
    for seed, noise in ((1, 0), (1, 7), (2, 0)):
        torch.manual_seed(noise)
        models.append(AtlasModel(config, seed).state_dict())
    first, same, other = models

    for name, tensor in first.items():
        assert torch.equal(tensor, same[name]), name
        assert tensor.isfinite().all()
        assert torch.equal(tensor, other[name]) == (name.endswith(CONSTANT) or not tensor.numel()), name


@every_variant
def test_training_evaluation_and_inference_compute_and_write_the_same(variant: str) -> None:
    """Bit for bit. Kills: writes that happen in training only; dropout; another path where no gradient is wanted."""
    model = make_model(variant)
    tokens = make_tokens(2, seed=9)
    trained = call(model.train(), tokens, model.initial_state(2))
    model.eval()
    with torch.no_grad():
        plain = call(model, tokens, model.initial_state(2))
    with torch.inference_mode():
        inferred = call(model, tokens, model.initial_state(2))

    for output in (call(model, tokens, model.initial_state(2)), plain, inferred):
        assert torch.equal(output.logits, trained.logits)
        assert largest_difference(output.state, trained.state) == 0.0
    assert largest_difference(trained.state, model.initial_state(2)) > 0.1


@other_half
def test_state_stays_in_float32_under_bfloat16_autocast(variant: str) -> None:
    """And every matrix product outside the memory is in bfloat16, so the test means something.

    Kills: a state, cache or gate that takes the dtype of the activations; a memory that runs under autocast.
    """
    model = AtlasModel(micro_config(*SMALL, *VARIANTS[variant]).model, seed=6)
    tokens = make_tokens(2, seed=10)
    state = model.initial_state(2)
    dtypes: set[torch.dtype] = set()
    for block in blocks(model):
        block.get_submodule("output").register_forward_hook(lambda module, inputs, output: dtypes.add(output.dtype))
    for _ in range(3):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = call(model, tokens, state)
        assert output.logits.isfinite().all()
        for name, tensor in output.state.to_tensors().items():
            assert tensor.isfinite().all(), name
            assert tensor.dtype == state.to_tensors()[name].dtype, name
            assert tensor.dtype in (torch.float32, torch.int64), name
        state = output.state.detach()
    wide = call(model, tokens, model.initial_state(2)).state
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = call(model, tokens, model.initial_state(2)).state

    assert dtypes == {torch.bfloat16, torch.float32}
    assert largest_difference(wide, narrow) > 0.0


@pytest.mark.parametrize("preset", preset_names())
def test_the_memory_of_every_preset_starts_with_a_long_half_life(preset: str) -> None:
    """At least 0.99 is kept at each token, whatever the token, in every head that is not fast; and one head is not.

    Of each memory of a hierarchy; a running mean keeps as much, which is not learned; all is kept where a preset
    says so. Kills: a bias of 0, which keeps half; fast heads everywhere; a local memory whose gates start elsewhere.
    """
    settings = load_config(preset).any_model
    if isinstance(settings, CognateConfig):
        assert settings.ltm.decay >= 0.99
    if not isinstance(settings, ModelConfig):
        return  # A sum keeps everything, and so do tokens that are read again.
    settings = settings.model_copy(update={"n_layers": 1})
    model = AtlasModel(settings, seed=0)
    hidden = 3.0 * torch.randn(2, 50, settings.d_model, generator=torch.Generator().manual_seed(1))
    slow = settings.n_heads - settings.memory.gates.fast_heads
    found = [module(hidden).retention for module in model.modules() if isinstance(module, GateHeads)]

    local = len(settings.memory.hierarchy.local_chunks) if settings.memory.kind == "hierarchical" else 0
    assert len(found) == 1 + local
    assert slow >= 1
    for retention in found:
        assert retention.shape == (2, 50, settings.n_heads)
        assert retention[..., :slow].min() >= 0.99 - 1e-6
        assert (retention == 1.0).all() if settings.memory.gates.retention_kind == "one" else retention.max() < 1.0


def test_fast_heads_start_at_rates_in_equal_ratios() -> None:
    """1 - retention goes from 0.01, which no head has, to that of the last head by one factor; steps are their own.

    Kills: fast heads first; rates in equal distances; the step of the slow heads for all.
    """
    gates = "model.memory.gates"
    changes = [
        "fast_heads=3",
        "fast_retention_init=0.92",
        "step_max=0.6",
        "step_init=0.07",
        "retention_init=0.999",
    ]
    model = AtlasModel(load_config("tiny", [f"{gates}.{change}" for change in changes]).model, seed=0)
    hidden = torch.zeros(1, 1, model.config.d_model)

    for block in blocks(model):
        memory_gates = block.memory.gates
        assert isinstance(memory_gates, nn.Module)
        found = memory_gates(hidden)
        rates = [0.001, 0.02, 0.04, 0.08]
        torch.testing.assert_close(1.0 - found.retention[0, 0], torch.tensor(rates), rtol=1e-4, atol=0.0)
        torch.testing.assert_close(found.step[0, 0], torch.tensor([0.07, 0.3, 0.3, 0.3]))
