"""MuGrokfast: what it adds to AdamW and Muon, as optimisers that act one after another on the same parameters.

    clip the gradient by its norm (training.clipping)       g
    perp-grad, where it is on                               g - (w.g / w.w) w, at the length of g
    SlowGradients                                           g + lambda mu,  mu <- a mu + (1 - a) g
    hidden matrices: ExactMuon                              all else: AdamW
    ClippedHeads                                            W_q, W_k of attention heads
    WeightAverage                                           E <- e E + (1 - e) W

Clipping comes before the filter, so that one bad batch does not stay in mu for 1 / (1 - a) steps; perp-grad too, so
that mu holds what is meant to act. A parameter without a gradient is left alone by all but the last two.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atlas_ref.blocks.attention import AttentionHeads
from atlas_ref.blocks.windowed_attention import WindowedAttention
from atlas_ref.optim.grokfast import filtered
from atlas_ref.optim.muon import muon_step
from atlas_ref.optim.perp_grad import perp_grad
from atlas_ref.optim.qk_clip import qk_clip
from atlas_ref.processes.distributed import World
from atlas_ref.training.eager import Eager

NEWTON_SCHULZ_STEPS = 5
"""Of the quintic set, as everybody's Muon has it."""

Clippable = AttentionHeads | WindowedAttention
"""Attention whose heads may be clipped: one projection to queries, keys and values, and a look at its own logits."""


class _Part(Eager):
    """What the parts share: parameters with a gradient, in order, and a step that takes no closure."""

    def step(self, closure: Any = None) -> Any:
        """Act on every parameter that has a gradient."""
        del closure
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self.act(parameter, self.state[parameter], group)

    def act(self, parameter: Tensor, state: dict[str, Tensor], group: Mapping[str, Any]) -> None:
        """Act on one parameter."""
        raise NotImplementedError


class SlowGradients(_Part):
    """Replaces gradients by filtered ones (`optim.grokfast`), after perp-grad where that is on (`optim.perp_grad`)."""

    def __init__(self, parameters: Iterable[nn.Parameter], alpha: float, strength: float, *, perp: bool) -> None:
        super().__init__(parameters, {"alpha": alpha, "strength": strength, "perp": perp})

    def act(self, parameter: Tensor, state: dict[str, Tensor], group: Mapping[str, Any]) -> None:
        """Filter one gradient."""
        gradient = parameter.grad
        if gradient is None:
            return
        if group["perp"]:
            gradient = perp_grad(parameter, gradient, rescale=True)
        slow, average = filtered(gradient, state.get("average"), group["alpha"], group["strength"])
        # Copied: before the second step the average is the gradient itself, which `zero_grad` may give back.
        parameter.grad, state["average"] = slow, average.clone()


class ExactMuon(_Part):
    """Muon in the precision of its parameters (`optim.muon`); its buffer is a sum, where torch has an average."""

    def __init__(self, parameters: Iterable[Any], lr: float, weight_decay: float, momentum: float) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    def act(self, parameter: Tensor, state: dict[str, Tensor], group: Mapping[str, Any]) -> None:
        """Move one matrix."""
        gradient = parameter.grad
        if gradient is None:
            return
        weight, state["momentum_buffer"] = muon_step(
            parameter,
            state.get("momentum_buffer", torch.zeros_like(parameter)),
            gradient,
            learning_rate=group["lr"],
            momentum=group["momentum"],
            weight_decay=group["weight_decay"],
            coefficients="quintic",
            steps=NEWTON_SCHULZ_STEPS,
        )
        parameter.copy_(weight)


class ClippedHeads(Eager):
    """Shrinks the query and key projections of attention heads whose logits were too large in this step's forward.

    It looks at the pairs in sight (`optim.qk_clip`) of every forward pass with gradients since `zero_grad`. It leaves
    the projections of the memory alone: they are normalised, so logits do not depend on their size.
    """

    def __init__(self, heads: Mapping[nn.Parameter, int], threshold: float) -> None:
        super().__init__(list(heads), {"threshold": threshold})
        self.threshold, self.heads = threshold, dict(heads)
        self.largest: dict[Tensor, Tensor] = {}

    def watch(self, layer: Clippable) -> None:
        """Note the largest logits of every forward pass of a layer from here on that has gradients."""
        layer.register_forward_pre_hook(self._see)

    def note(self, weight: Tensor, largest: Float[Tensor, " heads"]) -> None:
        """Note the largest logits that a projection made."""
        self.largest[weight] = torch.maximum(largest, self.largest.get(weight, largest))

    def agree(self, world: World) -> None:
        """Take the largest logits of all processes, so that each clips as one that has read every row."""
        seen = [weight for weight in self.heads if weight in self.largest]
        if world.size == 1 or not seen:
            return
        found = world.gather(torch.cat([self.largest[weight] for weight in seen])).amax(0)
        for weight, largest in zip(seen, torch.split(found, [self.heads[weight] for weight in seen]), strict=True):
            self.largest[weight] = largest.to(self.largest[weight])

    def _see(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if torch.is_grad_enabled() and isinstance(layer, Clippable):
            with torch.no_grad():
                self.note(layer.projection.weight, layer.largest_logits(*inputs))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget gradients and logits."""
        super().zero_grad(set_to_none)
        self.largest.clear()

    def step(self, closure: Any = None) -> Any:
        """Clip every head that was seen above the threshold."""
        del closure
        with torch.no_grad():
            for weight, heads in self.heads.items():
                if weight in self.largest:
                    clip_heads(weight, heads, self.largest[weight], self.threshold)


def clip_heads(weight: Tensor, heads: int, largest: Tensor, threshold: float) -> None:
    """Shrink queries and keys in place in a packed projection [3 heads dim, model] of queries, keys and values."""
    queries, keys, _ = weight.view(3, heads, -1, weight.shape[1]).unbind(0)
    for part, clipped in zip((queries, keys), qk_clip(queries, keys, largest, threshold), strict=True):
        part.copy_(clipped)


class WeightAverage(Eager):
    """Keeps E <- decay E + (1 - decay) W of every parameter, from E = W before the first step."""

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        super().__init__(parameters, {"decay": decay})
        for parameter in self._parameters():
            self.state[parameter]["weights"] = parameter.detach().clone()

    def step(self, closure: Any = None) -> Any:
        """Take the weights of this step in."""
        del closure
        with torch.no_grad():
            for parameter in self._parameters():
                average = self.state[parameter]["weights"]
                self.state[parameter]["weights"] = self._decay * average + (1.0 - self._decay) * parameter

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages in the place of the weights, until the context ends."""
        weights = {parameter: parameter.detach().clone() for parameter in self._parameters()}
        with torch.no_grad():
            for parameter in weights:
                parameter.copy_(self.state[parameter]["weights"])
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, weight in weights.items():
                    parameter.copy_(weight)

    @property
    def _decay(self) -> float:
        decay: float = self.param_groups[0]["decay"]
        return decay

    def _parameters(self) -> Iterator[nn.Parameter]:
        for group in self.param_groups:
            yield from group["params"]
