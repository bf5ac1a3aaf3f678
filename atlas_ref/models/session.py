"""A model together with the state of its rows, for callers who want an object that remembers.

    session = Session(model, batch=2)
    logits = session(tokens)                  the rows read on from where they are
    logits = session(tokens, reset)           from marked tokens on as before their first; `Marks(context=reset)` drops
                                              what attention and convolution see and hands the memory on
    saved = session.get_memory_state()        a value: later calls do not change it
    session.reset_memory_state()              every row, or those of a mask, as before their first token
    session.set_memory_state(saved)           and back, exactly

The names are those of the source system's plan for its training loop (`reset_memory_state`, `get_memory_state`,
`set_memory_state`). The model stays a function of parameters and arguments: what is remembered lies here and nowhere
else, so two sessions of one model never meet. What a session keeps was detached, so no graph outlives its call.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from atlas_ref.blocks.timeline import Marks
from atlas_ref.errors import UserError
from atlas_ref.functional.once import Store, keeping
from atlas_ref.memory.state import StateTree
from atlas_ref.models.family import Model, Output
from atlas_ref.models.serving import served


class Session:
    """`batch` rows that read through one model, in training, evaluation, no_grad and inference mode alike."""

    def __init__(self, model: Model, batch: int, outer_step: int | None = None) -> None:
        """Begin before the first token of every row; `outer_step` is that of `Model.forward`."""
        self.model, self.outer_step = model, outer_step
        self._state = model.initial_state(batch).detach()
        self._kept: Store = {}

    def __call__(
        self, tokens: Int[Tensor, "batch time"], reset: Bool[Tensor, "batch time"] | Marks | None = None
    ) -> Float[Tensor, "batch time vocab"]:
        """Return the logits that are served, and remember what tokens leave; `reset` is that of `Model.forward`."""
        with keeping(self._kept):
            output: Output = self.model(tokens, self._state, reset, self.outer_step, measured=False)
        # What inference mode makes has no graph to leave.
        self._state = output.state if torch.is_inference_mode_enabled() else output.state.detach()
        return served(output).logits

    def get_memory_state(self) -> Any:
        """Return the state of every row: M, S, window, convolution tail, projection, caches and positions."""
        return self._state

    def set_memory_state(self, state: StateTree) -> None:
        """Go on from a state, that of other rows or of another number of rows too.

        Raises UserError for a state of another model: a tensor that is missing, unknown or of another shape or dtype.
        """
        tensors = state.to_tensors()
        rows = state.batch
        self._state = self.model.initial_state(rows).from_tensors(tensors).detach().map(_usable)

    def reset_memory_state(self, rows: Bool[Tensor, " batch"] | None = None) -> None:
        """Put every row, or each that the mask names, before its first token; the others do not notice."""
        batch = self._state.batch
        fresh = self.model.initial_state(batch).detach()
        if rows is None:
            self._state = fresh
            return
        if rows.shape != (batch,):
            raise UserError(f"the mask of rows to reset has the shape {list(rows.shape)}; it must be [{batch}].")
        kept, new = self._state.to_tensors(), fresh.to_tensors()
        chosen = {name: torch.where(_over_rows(rows, new[name]), new[name], kept[name]) for name in new}
        self._state = fresh.from_tensors(chosen)


def _over_rows(rows: Tensor, like: Tensor) -> Tensor:
    return rows.to(like.device).view(-1, *(1,) * (like.ndim - 1))


def _usable(tensor: Tensor) -> Tensor:
    """Return a tensor that training may read too, which one made in inference mode is not."""
    return tensor.clone() if tensor.is_inference() and not torch.is_inference_mode_enabled() else tensor
