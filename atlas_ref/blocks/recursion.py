"""The two ways to refine an answer y and a latent z: with networks of their own, or with one for both.

    separate   y0 = W_y z0,  z0 = W_z features                                       (the source system)
               z <- norm(z + mlp([z; attention(z, features); attention(z, y)])),  then  y <- norm(y + mlp([y; z]))
    shared     y0 = z0 = 0;  z <- net(z + y + features),  then  y <- net(y + z)      (2510.04871; `functional.trm`)

Each keeps the caches of its attentions as its state: one for the features, one for the answer that each recursion
found; or one for each evaluation of the one network.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from atlas_ref.blocks.windowed_attention import AttentionCache, Places, WindowedAttention, empty_cache, kept
from atlas_ref.config.cognate import CognateConfig
from atlas_ref.functional.trm import NetWeights, apply_net, trm_recursion

Hidden = Float[Tensor, "batch time model"]
Caches = tuple[AttentionCache, ...]


class Recursion(nn.Module):
    """What both ways have in common: answers begin somewhere, and an iteration makes the next one."""

    def __init__(self, config: CognateConfig) -> None:
        super().__init__()
        self.config = config.recursion

    def initial_caches(self, batch: int) -> Caches:
        """Return the caches of `batch` rows before their first token."""
        raise NotImplementedError

    def begin(self, features: Hidden) -> tuple[Hidden, Hidden]:
        """Return y0 and z0."""
        raise NotImplementedError

    def iterate(
        self, number: int, features: Hidden, y: Hidden, z: Hidden, caches: Caches, places: Places
    ) -> tuple[Hidden, Hidden, Caches]:
        """Return y and z after iteration `number` (0-based), and the caches that are new."""
        raise NotImplementedError


class SeparateNets(Recursion):
    """A refiner of z that looks at features and answer, and an updater of y (module docstring)."""

    def __init__(self, config: CognateConfig) -> None:
        super().__init__(config)
        size, heads, hidden = config.d_model, config.recursion.heads, config.recursion.hidden
        self.z0 = nn.Linear(size, size)
        self.y0 = nn.Linear(size, size)
        self.sees_features = WindowedAttention(size, heads, config.window, bias=True)
        self.sees_answer = WindowedAttention(size, heads, config.window, bias=True)
        self.refine = nn.ModuleList((nn.Linear(3 * size, hidden), nn.Linear(hidden, size)))
        self.refine_norm = nn.LayerNorm(size, config.norm_eps)
        self.update = nn.ModuleList((nn.Linear(2 * size, hidden), nn.Linear(hidden, size)))
        self.update_norm = nn.LayerNorm(size, config.norm_eps)

    def initial_caches(self, batch: int) -> Caches:
        """Return the cache of the features, and one for the answer of each recursion."""
        answers = self.config.iterations * self.config.recursions
        return (self.sees_features.initial_cache(batch), *(self.sees_answer.initial_cache(batch),) * answers)

    def begin(self, features: Hidden) -> tuple[Hidden, Hidden]:
        """Return y0 and z0, projections of the features."""
        z: Tensor = self.z0(features)
        y: Tensor = self.y0(z)
        return y, z

    def iterate(
        self, number: int, features: Hidden, y: Hidden, z: Hidden, caches: Caches, places: Places
    ) -> tuple[Hidden, Hidden, Caches]:
        """Return y and z after an iteration; the cache of the features is new once, in the first."""
        first = 1 + number * self.config.recursions
        unread = iter(caches[first : first + self.config.recursions])
        new: list[AttentionCache] = []
        told: AttentionCache | None = None
        read = next(unread)

        def refine(y: Tensor, z: Tensor) -> Tensor:
            nonlocal told
            facts, about = self.sees_features(z, features, caches[0], places)
            answers, told = self.sees_answer(z, y, read, places)
            new.extend([about] if number == 0 and not new else [])
            refined: Tensor = self.refine_norm(z + _mlp(self.refine, torch.cat([z, facts, answers], -1)))
            return refined

        def update(y: Tensor, z: Tensor) -> Tensor:
            nonlocal read
            assert told is not None
            new.append(told)
            read = next(unread, read)
            updated: Tensor = self.update_norm(y + _mlp(self.update, torch.cat([y, z], -1)))
            return updated

        settings = self.config
        y, z = trm_recursion(
            y, z, refine, update, settings.micro_steps, settings.recursions, settings.no_grad_recursions
        )
        return y, z, tuple(new)


class SharedNet(Recursion):
    """One network for both (module docstring)."""

    def __init__(self, config: CognateConfig) -> None:
        super().__init__(config)
        size, hidden = config.d_model, config.recursion.hidden
        self.heads, self.window, self.eps = config.recursion.heads, config.window, config.norm_eps
        self.evaluations = config.evaluations // config.recursion.iterations
        self.projection = nn.Linear(size, 3 * size, bias=False)
        self.output = nn.Linear(size, size, bias=False)
        self.up = nn.Linear(size, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, size, bias=False)

    def initial_caches(self, batch: int) -> Caches:
        """Return one cache for each evaluation."""
        dim = self.output.in_features // self.heads
        empty = empty_cache(batch, self.window, self.heads, dim, self.output.weight)
        return (empty,) * (self.config.iterations * self.evaluations)

    def begin(self, features: Hidden) -> tuple[Hidden, Hidden]:
        """Return zeros."""
        return torch.zeros_like(features), torch.zeros_like(features)

    def iterate(
        self, number: int, features: Hidden, y: Hidden, z: Hidden, caches: Caches, places: Places
    ) -> tuple[Hidden, Hidden, Caches]:
        """Return y and z after an iteration, and the caches of its evaluations."""
        weights = NetWeights(self.projection.weight, self.output.weight, self.up.weight, self.down.weight)
        own: Iterator[AttentionCache] = iter(caches[number * self.evaluations :])
        new: list[AttentionCache] = []

        def net(u: Tensor) -> Tensor:
            cache = next(own)
            made, keys, values = apply_net(u, weights, cache.keys, cache.values, places.position, self.heads, self.eps)
            new.append(kept(keys, values, places))
            return made

        settings = self.config
        y, z = trm_recursion(
            y,
            z,
            lambda y, z: net(z + y + features),
            lambda y, z: net(y + z),
            settings.micro_steps,
            settings.recursions,
            settings.no_grad_recursions,
        )
        return y, z, tuple(new)


def _mlp(layers: nn.ModuleList, x: Tensor) -> Tensor:
    first, second = layers
    made: Tensor = second(relu(first(x)))
    return made
