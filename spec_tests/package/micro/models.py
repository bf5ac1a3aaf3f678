"""Small models that together have every branch, with weights at random places, and what their tests share."""

from itertools import pairwise

import torch
from torch import Tensor

from atlas_ref.models.atlas import AtlasModel, ModelOutput, ModelState
from atlas_ref.models.family import Model
from spec_tests.package.micro.runs import micro_config

VOCABULARY = 257
CHUNK, TIME = 4, 21
SMALL = (
    "model.d_model=16",
    "model.feed_forward_dim=24",
    "model.attention.window=5",
    f"model.memory.chunk={CHUNK}",
    "model.memory.omega_window=3",
    "model.memory.key_dim=4",
    "model.memory.value_dim=8",
    "model.memory.initial_std=0.3",
    "model.init_std=0.3",
)
VARIANTS: dict[str, tuple[str, ...]] = {
    "omega": ("model.gate.floor=0.2",),
    "omega literal mlp pre": (
        "model.memory.architecture='mlp'",
        "model.memory.expansion=2",
        "model.memory.step_scale='literal'",
        "model.memory.gates.step_init=0.02",
        "model.memory.gates.step_max=0.05",
        "model.memory.read='pre'",
        "model.feed_forward='none'",
    ),
    "titans convex degree 2": (
        "model.memory.rule='titans'",
        "model.gate.kind='convex'",
        "model.gate.floor=0.1",
        "model.memory.features.degree=2",
    ),
    "atlas tnt truncate": (
        "model.memory.rule='atlas'",
        "model.memory.qk_projection.kind='tnt'",
        "model.memory.window_boundary='truncate'",
    ),
    "atlas_appendix frobenius_tanh pre mlp": (
        "model.memory.rule='atlas_appendix'",
        "model.memory.qk_projection.kind='frobenius_tanh'",
        "model.memory.qk_projection.gain=2.0",
        "model.memory.read='pre'",
        "model.memory.architecture='mlp'",
        "model.memory.expansion=2",
        "model.memory.newton_schulz.coefficients='cubic'",
        "model.memory.loss_scale='one'",
    ),
    "delta no convolution": (
        "model.memory.rule='delta'",
        "model.memory.omega_window=1",
        "model.memory.conv_kernel=1",
        "model.memory.features.basis='elementwise'",
        "model.memory.features.degree=2",
        "model.attention.persistent_tokens=0",
    ),
    "omega tnt every 3 in shards": (
        "model.memory.qk_projection.kind='tnt'",
        "model.memory.ttl_update_frequency=3",
        "model.memory.shards.length=8",
        "model.memory.shards.warmup_crossings=1",
        "model.memory.shards.alpha_init=0.7",
    ),
    "atlas mlp frobenius_tanh truncate every 2 in shards": (
        "model.memory.rule='atlas'",
        "model.memory.architecture='mlp'",
        "model.memory.expansion=2",
        "model.memory.qk_projection.kind='frobenius_tanh'",
        "model.memory.window_boundary='truncate'",
        "model.memory.ttl_update_frequency=2",
        "model.memory.shards.length=4",
        "model.memory.shards.warmup_crossings=0",
    ),
    "mag product": ("model.gate.kind='product'",),
    "mag gated_attention titans": ("model.gate.kind='gated_attention'", "model.gate.floor=0.2"),
    "mag with persistent tokens in memory": ("model.attention.persistent_in_memory=true",),
    "mal": ("model.block='mal'",),
    "mal titans in two sublayers tnt": (
        "model.block='mal'",
        "model.mal.inner_residual=true",
        "model.memory.rule='titans'",
        "model.memory.qk_projection.kind='tnt'",
    ),
    "mac": ("model.block='mac'", "model.mac.segment=8"),
    "mac learned titans product": (
        "model.block='mac'",
        "model.mac.segment=8",
        "model.mac.rows='learned'",
        "model.mac.learned_rows=3",
        "model.memory.rule='titans'",
        "model.gate.kind='product'",
    ),
    "mac previous segment mlp from the input": (
        "model.block='mac'",
        "model.mac.segment=4",
        "model.mac.rows='previous_segment'",
        "model.mac.write_from='input'",
        "model.memory.architecture='mlp'",
        "model.memory.expansion=2",
        "model.memory.conv_kernel=2",
        "model.memory.qk_projection.kind='tnt'",
        "model.gate.kind='convex'",
    ),
    "lmm": ("model.block='lmm'", "model.gate.floor=0.1"),
}
"""What each variant changes in the small model; blocks, rules, gates, features, projections, reads, borders and
schedules all occur."""


def make_model(variant: str, *overrides: str) -> AtlasModel:
    """Return a float64 model whose every parameter is moved away from its start, so that gates depend on tokens."""
    config = micro_config(*SMALL, *VARIANTS[variant], *overrides)
    model = AtlasModel(config.model, seed=3).double()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def make_tokens(batch: int, seed: int, time: int = TIME) -> Tensor:
    """Return random tokens [batch, time]."""
    return torch.randint(VOCABULARY, (batch, time), generator=torch.Generator().manual_seed(seed))


def call(model: AtlasModel, tokens: Tensor, state: ModelState, reset: Tensor | None = None) -> ModelOutput:
    """Run the model; typed, which a module is not."""
    output: ModelOutput = model(tokens, state, reset)
    return output


def call_in_parts(
    model: AtlasModel, tokens: Tensor, borders: list[int], state: ModelState, reset: Tensor | None = None
) -> tuple[Tensor, ModelState]:
    """Run the model in one call for each stretch between `borders` and return all logits and the last state."""
    logits = []
    for start, stop in pairwise([0, *borders, tokens.shape[1]]):
        part = slice(start, stop)
        output = call(model, tokens[:, part], state, None if reset is None else reset[:, part])
        logits.append(output.logits)
        state = output.state
    return torch.cat(logits, 1), state


def carried_state(model: AtlasModel, batch: int, time: int = 7) -> ModelState:
    """Return the state in the middle of a chunk of documents that began `time` tokens ago."""
    with torch.no_grad():
        return call(model, make_tokens(batch, 99, time), model.initial_state(batch)).state


def rows_of(state: ModelState, rows: Tensor) -> ModelState:
    """Return the state of the given rows."""
    return state.map(lambda tensor: tensor[rows])


def largest_difference(one: ModelState, other: ModelState) -> float:
    """Return the largest difference between two states of the same shape."""
    ours, theirs = one.to_tensors(), other.to_tensors()
    assert ours.keys() == theirs.keys()
    gaps = [(ours[name] - theirs[name]).detach().abs().max() for name in ours if ours[name].numel()]
    # Unlike Python's max, it does not pass over NaN.
    return float(torch.stack(gaps).max())


def as_atlas(model: Model) -> AtlasModel:
    """Return a model that is known to be of the first family, for tests that look inside."""
    assert isinstance(model, AtlasModel)
    return model
