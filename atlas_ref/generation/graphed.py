"""Decoding without launches: the call of one token as a function of buffers, which a GPU replays as one CUDA graph.

    load(state, logits)      a state, copied into the buffers
    draw(sampling, random)   the next token, by the numbers that the plain way would take, into the buffer of tokens
    advance()                one call of the model on buffer and state, whose results take their places

What is recorded is the plain call itself, made under `looking.unseen`: nothing of it asks the host for an answer, so
that it is right wherever rows stand in chunks, windows, segments and documents. A graph holds the addresses of the
parameters and not the model: weights that change in place are seen, and `decoder_of` records anew where they moved.
Where there is no GPU, or a model cannot be called unseen, there is no decoder, and generation goes the plain way.
"""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.functional.looking import UnseenError, unseen
from atlas_ref.generation.sampling import Sampling, chosen, drawable
from atlas_ref.memory.state import StateTree
from atlas_ref.models.family import Model, Output
from atlas_ref.models.serving import served

WARM_UPS = 2
"""Calls before the recording: kernels are compiled and constants made in them."""
WORTH = 16
"""Tokens of a text from which on a recording costs less than it saves."""


class Recorded:
    """A function that works on buffers alone, as a CUDA graph; on a CPU the function itself."""

    def __init__(self, work: Callable[[], None], device: torch.device) -> None:
        """Call it several times and record it once: the buffers hold anything afterwards."""
        self._again = work
        if device.type != "cuda":
            work()
            return
        for _ in range(WARM_UPS):
            work()
        graph = torch.cuda.CUDAGraph()
        # Other threads do what they will: a run that writes samples pins its next batch.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            work()
        self._again = graph.replay

    def __call__(self) -> None:
        """Do the work on what the buffers hold."""
        self._again()


class Decoder:
    """One row of a model in buffers (module docstring); whoever decodes with it holds it from `take` to `free`."""

    def __init__(self, model: Model, outer_step: int | None, known: int | None) -> None:
        """Record the call of one token; raise UnseenError where it needs a look or its state changes its shape.

        `outer_step` is that of `Model.forward`; `known` the number of tokens that may be drawn, None: all.
        """
        self._device = next(model.parameters()).device
        with torch.inference_mode():
            state: StateTree = model.initial_state(1)
            # A buffer each: what enters may be one tensor in several places, or an expanded one.
            self._state = state.map(lambda x: x.clone(memory_format=torch.contiguous_format))
            self._token = torch.zeros(1, 1, dtype=torch.long, device=self._device)
            self._uniform = torch.zeros(1, dtype=torch.float64, device=self._device)
            self._logits = self._call(model, outer_step, known).logits[0, -1, :known].clone()
            self._advance = Recorded(lambda: self._step(model, outer_step, known), self._device)
        self._draws: dict[Sampling, Recorded] = {}
        self._taken = False

    def take(self) -> bool:
        """Take the decoder and return True, or False where somebody has it."""
        free, self._taken = not self._taken, True
        return free

    def free(self) -> None:
        """Give the decoder back."""
        self._taken = False

    def load(self, state: StateTree, logits: Float[Tensor, " vocab"]) -> None:
        """Begin at a state and the logits of its next token, which are copied."""
        with torch.inference_mode():
            _copy(state.to_tensors(), self._state.to_tensors())
            self._logits.copy_(logits)

    def draw(self, sampling: Sampling, random: np.random.Generator) -> tuple[int, Float[Tensor, " vocab"]]:
        """Return the next token and the logits that it was drawn from; raise UserError where they are not finite."""
        with torch.inference_mode():
            self._uniform.fill_(random.random())
            if sampling not in self._draws:
                self._draws[sampling] = Recorded(lambda: self._choose(sampling), self._device)
            self._draws[sampling]()
            return drawable(int(self._token)), self._logits.clone()

    def advance(self) -> None:
        """Call the model on the token that was drawn last."""
        with torch.inference_mode():
            self._advance()

    def _choose(self, sampling: Sampling) -> None:
        self._token.copy_(chosen(self._logits, sampling, self._uniform).unsqueeze(0))

    def _step(self, model: Model, outer_step: int | None, known: int | None) -> None:
        found = self._call(model, outer_step, known)
        self._logits.copy_(found.logits[0, -1, :known])
        _copy(_apart(found.state.to_tensors(), self._state.to_tensors()), self._state.to_tensors())

    def _call(self, model: Model, outer_step: int | None, known: int | None) -> Output:
        with unseen():
            output: Output = model(self._token, self._state, None, outer_step, measured=False)
            return served(output)


def _copy(found: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
    """Overwrite every buffer; raise UnseenError for a state of other tensors: its shape would be looked at."""
    if {name: (x.shape, x.dtype) for name, x in found.items()} != {
        name: (x.shape, x.dtype) for name, x in buffers.items()
    }:
        raise UnseenError("the shape of the state after a token")
    for kind in {x.dtype for x in buffers.values()}:
        # One launch for many, which are to be laid out alike: as they lie in memory.
        pairs = [(x, found[name]) for name, x in buffers.items() if x.dtype == kind and found[name] is not x]
        if pairs:
            torch._foreach_copy_([x.view(-1) for x, _ in pairs], [x.reshape(-1) for _, x in pairs])


def _apart(found: dict[str, Tensor], buffers: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what was found, copied where it lies in the buffer of another, which may be overwritten before it is read.

    What a call leaves as it is stays in its own.
    """
    held = {x.untyped_storage().data_ptr() for x in buffers.values()}
    moved = {name for name, x in found.items() if x is not buffers[name] and x.untyped_storage().data_ptr() in held}
    return {name: x.clone() if name in moved else x for name, x in found.items()}


_made: "WeakKeyDictionary[Model, tuple[Any, Decoder | None]]" = WeakKeyDictionary()
"""The decoder of each model, and what it was recorded for; None where there can be none."""


def decoder_of(model: Model, outer_step: int | None, known: int | None, count: int) -> Decoder | None:
    """Return a decoder of a model on a GPU for texts of `count` tokens, None where the plain way is to be gone."""
    if next(model.parameters()).device.type != "cuda":
        return None
    addresses = tuple(parameter.data_ptr() for parameter in model.parameters())
    recorded_for = (outer_step, known, model.training, torch.get_float32_matmul_precision(), addresses)
    before, decoder = _made.get(model, (None, None))
    if before == recorded_for:
        return decoder
    if count < WORTH:
        return None
    try:
        decoder = Decoder(model, outer_step, known)
    except UnseenError:
        decoder = None
    _made[model] = (recorded_for, decoder)
    return decoder
