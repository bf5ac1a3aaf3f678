"""Training steps without launches: forward and backward of a step, recorded once as a CUDA graph and replayed.

A step of a small model is thousands of small kernels, which the host gives out more slowly than a GPU does them. What
is recorded is `step.work` itself, made under `looking.unseen`, on buffers of batch, state and what the step draws, and
behind it the update (`recorded_update`). A recording serves the steps that are the same function of their batch:

    one process; no schedule moves (`Model.schedules`); no polarisation
    rows in step: all at one index of their chunk, and no memory begins inside a chunk; of memories in shards, which
    are whole chunks, the same of these

Where rows stand is counted on the host, from the marks of the batches, so that nobody asks the device. What the host
has to know before the update (losses, sizes of gradients) is gathered in one tensor and waited for once, while the
device puts the state away and measures; what was measured is there when it has given out the update. Any other step is
made as it is, and so is every step where a model cannot be recorded, or memory is too short for both ways.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import Batch
from atlas_ref.functional.looking import Place, unseen
from atlas_ref.memory.plan import token_positions
from atlas_ref.memory.state import StateTree
from atlas_ref.models.family import Model, Sheet
from atlas_ref.models.registry import family_of
from atlas_ref.training.captured import Captured, Told
from atlas_ref.training.clipping import sizes_of_gradients
from atlas_ref.training.optimiser import OuterOptimiser
from atlas_ref.training.recorded_update import RecordedUpdate
from atlas_ref.training.schedule import polarisation
from atlas_ref.training.step import Worked, draws_of, work

PLAIN_STEPS = 3
"""Steps of one kind, one after another, that are made as they are before one is recorded: they compile its kernels."""
PATIENCE = 20
"""Steps after which it is told why none was recorded, where each of them is another function of its batch."""
SHARE = 0.4
"""Share of the memory of a GPU that a step may need to be recorded: a recording keeps as much as a step needs."""


class Standing:
    """Where the rows of a run stand in what their memory has read, counted on the host."""

    def __init__(self, position: Int[Tensor, " batch"], length: int) -> None:
        """Count from a position; `length` is that of a chunk, or of a shard where the memory has these."""
        self._position, self.length = position.cpu(), length

    def read(self, batch: Batch) -> int | None:
        """Count a batch in, and return the index in its chunk or shard at which every row began it; None: they are not
        in step, or do not stay so, as where a memory begins inside one.
        """
        marks = batch.reset if batch.episode is None else batch.episode.memory
        if not marks[:, 1:].numpy().any():
            # Nobody begins inside: the host has no more to count than where each row begins.
            first = self._position.masked_fill(marks[:, 0], 0)
            self._position, index = first + marks.shape[1], set((first % self.length).tolist())
            return index.pop() if len(index) == 1 else None
        places = token_positions(self._position, marks, marks.shape[1])
        self._position = places[:, -1] + 1
        phase = int(places[0, 0]) % self.length
        expected = (phase + torch.arange(places.shape[1])) % self.length
        return phase if bool((places % self.length == expected).all()) else None


class Recording:
    """One kind of step in buffers, as CUDA graphs; on a CPU the step itself."""

    def __init__(
        self,
        network: nn.Module,
        optimiser: OuterOptimiser,
        batch: Batch,
        state: StateTree,
        step: int,
        config: RunConfig,
        draws: Tensor | None,
        place: Place,
    ) -> None:
        """Record the step; its work is still to be done."""
        self._network, self._optimiser = network, optimiser
        self._batch = batch.map(torch.clone)
        self._state = state.map(lambda x: x.detach().clone(memory_format=torch.contiguous_format))
        self._buffers = self._state.to_tensors()
        self._draws = None if draws is None else draws.clone()
        self._given = step, config, place
        self._decisive, self._measured, self.update = Told(), Told(), RecordedUpdate(optimiser)
        device = batch.tokens.device
        if recorded := device.type == "cuda":
            # Once as it is: it compiles what only an unseen step needs.
            self._pass()
            self._settle()
        self._graph = Captured(self._pass, device)
        # On a CPU each pass leaves its own.
        self._gradients = {x: x.grad for x in network.parameters()} if recorded else {}
        self._logits = dict(optimiser.logits) if recorded else {}
        self._settling = Captured(self._settle, device, beside=self._graph)

    def __call__(self, batch: Batch, state: StateTree, draws: Tensor | None, meanwhile: Callable[[], None]) -> Worked:
        """Do the work on what is given, which is copied; what comes back is overwritten by the next call, but for what
        the host is told, which is there when this returns. The host does something `meanwhile`.
        """
        for buffer, tensor in zip(self._batch.tensors(), batch.tensors(), strict=True):
            buffer.copy_(tensor)
        if self._draws is not None and draws is not None:
            self._draws.copy_(draws)
        if state is not self._state:
            for name, tensor in state.to_tensors().items():
                if tensor is not self._buffers[name]:
                    self._buffers[name].copy_(tensor)
        self.replay()
        meanwhile()
        # The only time in a step that the host waits for the device.
        numbers = torch.split(self._decisive.wait(), [x.numel() for x in _numbers(self._worked)])
        sizes = self._worked.sizes
        assert sizes is not None
        losses = numbers[0].view_as(self._worked.losses)
        return self._worked._replace(losses=losses, sizes=sizes._replace(largest=numbers[1], norm=numbers[2][0]))

    def sheet(self) -> Sheet | None:
        """Return what was measured of the last step, on the host; None where the family has no such thing."""
        return None if self._sheet is None else self._sheet._replace(values=self._measured.wait())

    def replay(self) -> None:
        """Do the work on what the buffers hold, and send the host what it is told."""
        self._graph.replay()
        self._decisive.send(self._found)
        for parameter, gradient in self._gradients.items():
            parameter.grad = gradient
        self._optimiser.logits.update(self._logits)
        self._settling.replay()
        if self._sheet is not None:
            self._measured.send(self._sheet.values)

    def _pass(self) -> None:
        """Work on the buffers, and gather what the update depends on."""
        self._optimiser.zero_grad()
        step, config, place = self._given
        with unseen(place):
            worked = work(self._network, self._batch, self._state, step, config, self._draws)
        self._after = worked.output
        output = worked.output._replace(state=self._state)
        self._worked = worked._replace(output=output, sizes=sizes_of_gradients(self._network))
        self._found = torch.cat([x.double().flatten() for x in _numbers(self._worked)])

    def _settle(self) -> None:
        """Put the state after the step into the buffers of that before it, and measure the layers."""
        held = {x.untyped_storage().data_ptr() for x in self._buffers.values()}
        after = self._after.state.to_tensors()
        # What lies in a buffer could be overwritten before it is read.
        apart = {name: x.clone() if x.untyped_storage().data_ptr() in held else x for name, x in after.items()}
        for dtype in {x.dtype for x in self._buffers.values()}:
            # Together: some dozens are as many launches otherwise.
            names = [name for name, buffer in self._buffers.items() if buffer.dtype == dtype]
            torch._foreach_copy_([self._buffers[name] for name in names], [apart[name] for name in names])
        model = self._given[1].any_model
        gather = family_of(model).gather
        self._sheet = None if gather is None else gather(self._after, model)


def _numbers(worked: Worked) -> list[Tensor]:
    """Return what an update depends on: losses, and sizes of the gradients; float64 holds each of them exactly."""
    assert worked.sizes is not None
    return [worked.losses, worked.sizes.largest, worked.sizes.norm]


class Kind(NamedTuple):
    """What steps have in common that one recording may serve: where rows stand in their chunks or shards (None: not in
    step), the weight of polarisation, what schedules make of the step, and the shapes of the batch."""

    phase: int | None
    polarisation: float
    schedules: Hashable
    shapes: tuple[torch.Size, ...]

    def unlike(self, last: "Kind | None") -> str:
        """Return why a step is no repetition of the last one; nothing where it is one, or the first."""
        if self.phase is None:
            return "rows are not in step, as where a document begins inside a chunk or a shard of their memory"
        if self.polarisation > 0.0:
            return "the weight of polarisation moves from step to step"
        if last is None or self == last:
            return ""
        if self.shapes != last.shapes:
            return "batches are of another shape from step to step"
        if self.schedules != last.schedules:
            return "schedules of the model move from step to step"
        return "rows begin each step at another index of their chunk or shard"


class Recordings:
    """The recorded steps of a run (`step.Replays`): one of each kind that comes several times in a row."""

    def __init__(
        self, model: Model, network: nn.Module, optimiser: OuterOptimiser, state: StateTree, config: RunConfig
    ) -> None:
        standing = model.standing(state)
        self._standing = None if standing is None else Standing(*standing)
        self._model, self._network, self._optimiser, self._config = model, network, optimiser, config
        self.made: dict[Kind, Recording | None] = {}
        """By kind; None where one cannot be recorded."""
        self.refused = "" if self._standing else model.unrecorded()
        """Why a step could not be recorded, where one could not."""
        self.unlike = ""
        """Why the last step was no repetition of those before it, where it was none."""
        self._told, self._made = "", 0
        self._last: Kind | None = None
        self._times = 0
        self._replayed: Recording | None = None
        self._ahead: tuple[tuple[int, int] | None, Tensor | None] = None, None
        self._phase: int | None = None
        self.replayed = 0
        """Steps that were made by a recording."""
        self.updated = 0
        """Those of them whose update was made by one too."""

    def expect(self, batch: Batch) -> None:
        """Note where the rows stand in the next batch, which is still on the host."""
        self._phase = None if self._standing is None else self._standing.read(batch)

    def work(self, batch: Batch, state: StateTree, step: int, draws: Tensor | None) -> Worked | None:
        """Do the work of a step as it was recorded; None where it has to be done as it is."""
        self._replayed = self._recorded(batch, state, step, draws)
        if self._replayed is None:
            return None
        self.replayed += 1
        return self._replayed(batch, state, draws, lambda: self._look_ahead(batch, step + 1))

    def news(self) -> str:
        """Return a line on whether steps are recorded, once it is known and where it is another than before."""
        now = "steps are recorded and replayed (train.graph)" if self.replayed else ""
        why = self.refused or ("" if self._told or self._made < PATIENCE else self.unlike)
        if not now and why:
            now = f"steps are made as they are, not recorded: {why}"
        told, self._told = self._told, now or self._told
        return now if now != told else ""

    def draws(self, batch: Batch, step: int) -> Tensor | None:
        """Return what `step.draws_of` does, at once where it was made while the device was at the step before."""
        key, drawn = self._ahead
        return drawn if key == (step, len(batch.tokens)) else draws_of(batch, step, self._config)

    def _look_ahead(self, batch: Batch, step: int) -> None:
        """Make what the next step draws, if that is a function of its number and rows alone."""
        if self._config.leaves_out:
            self._ahead = (step, len(batch.tokens)), draws_of(batch, step, self._config)

    def sheet(self) -> Sheet | None:
        """Return what was measured of the last step if it was made by a recording, on the host; None of any other."""
        return None if self._replayed is None else self._replayed.sheet()

    def update(self, held: Mapping[str, nn.Parameter], share: float) -> bool:
        """Clip and update behind a step that was made by a recording, and return whether that was recorded too."""
        done = self._replayed is not None and self._replayed.update(held, share)
        self.updated += done
        return done

    def _recorded(self, batch: Batch, state: StateTree, step: int, draws: Tensor | None) -> Recording | None:
        """Return what makes a step, which may be recorded for it; None where it is made as it is."""
        phase = self._phase
        self._made += 1
        shapes = tuple(tensor.shape for tensor in batch.tensors())
        kind = Kind(phase, polarisation(step, self._config), self._model.schedules(step), shapes)
        self.unlike = kind.unlike(self._last)
        self._times = 1 if self.unlike else self._times + 1
        self._last = kind
        if self._standing is None or phase is None or kind.polarisation > 0.0:
            return None
        if kind not in self.made:
            if self._times <= PLAIN_STEPS:
                return None
            self.made[kind] = self._record(batch, state, step, draws, Place(phase, self._standing.length))
        return self.made[kind]

    def _record(
        self, batch: Batch, state: StateTree, step: int, draws: Tensor | None, place: Place
    ) -> Recording | None:
        if not _has_room(batch.tokens.device):
            self.refused = f"a step needs more than {SHARE:.0%} of the memory of the GPU, and a recording as much again"
            return None
        try:
            return Recording(self._network, self._optimiser, batch, state, step, self._config, draws, place)
        except RuntimeError as error:
            # It needs a look, or something that a graph cannot hold; whatever it left behind is forgotten.
            self.refused = str(error).partition("\n")[0]
            self._optimiser.zero_grad()
            return None


def _has_room(device: torch.device) -> bool:
    """Return whether a GPU can hold a recording beside what a step as it is needs; a CPU keeps nothing of it."""
    if device.type != "cuda":
        return True
    return torch.cuda.max_memory_allocated(device) <= SHARE * torch.cuda.get_device_properties(device).total_memory
