"""Several processes that train one model: who they are, what they tell each other, and how they leave together.

`torchrun` starts the processes and names each by RANK, WORLD_SIZE and LOCAL_RANK. Every process makes the same global
batch, f(seed, step), and takes its own rows of it, so that what is computed never depends on how many there are.
Numbers and texts go through gloo on the CPU, gradients through NCCL where the devices are GPUs.

What one process alone may meet (a full disk, an unreadable file) is made common by `World.together`: all of them
raise CommonError, so that none is left waiting for another. One that stops answering is named, and given up in the end
(`heartbeat`). Without torchrun there is one process, ALONE, and nothing is sent.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
from jaxtyping import Float
from torch import Tensor, distributed

# torch.distributed.TCPStore, from where its types are declared.
from torch._C._distributed_c10d import TCPStore
from torch.distributed import DistError
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore

from atlas_ref.config import RunConfig
from atlas_ref.errors import UserError
from atlas_ref.processes.heartbeat import LIMIT, Heartbeat, Meetings

PATIENCE = timedelta(days=1)
"""How long an exchange may take: longer than the first process examines gates. One that has died, was stopped or hangs
is noticed long before, by torchrun or by its silence."""
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process."""


class CommonError(UserError):
    """An error that every process has raised alike, so that none waits for another."""


class LostProcessError(RuntimeError):
    """Another process of the run has ended, so that nothing can be exchanged any more."""


@dataclass(frozen=True)
class World:
    """The processes of a run as one of them sees them; `rank` 0 alone writes files and speaks."""

    rank: int
    size: int
    local_rank: int
    meetings: Meetings = field(default_factory=Meetings, compare=False)

    @property
    def main(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """Return which of `count` rows belong to this process: a stretch of them, as long as the others'."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def device(self, device: torch.device) -> torch.device:
        """Return the device of this process: its own GPU where there are GPUs."""
        if device.type != "cuda" or self.size == 1:
            return device
        if self.local_rank >= torch.cuda.device_count():
            raise UserError(
                f"{self.local_rank + 1} processes or more on a machine with {torch.cuda.device_count()} GPUs; "
                "torchrun --nproc_per_node must be at most the number of GPUs, or train.device be cpu."
            )
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)

    def mesh(self, device: torch.device) -> DeviceMesh:
        """Return all processes as a mesh of one axis."""
        return init_device_mesh(device.type, (self.size,))

    def gather(self, values: Float[Tensor, " n"]) -> Float[Tensor, "size n"]:
        """Return the float64 vectors of all processes, in the order of their ranks."""
        mine = values.detach().to("cpu", torch.float64)
        if self.size == 1:
            return mine.unsqueeze(0)
        found = [torch.empty_like(mine) for _ in range(self.size)]
        with self._exchange():
            distributed.all_gather(found, mine)
        return torch.stack(found)

    def sums(self, *values: float) -> tuple[float, ...]:
        """Return the sums over all processes, added in the order of ranks and so the same number everywhere."""
        columns = self.gather(torch.tensor(values, dtype=torch.float64)).T.tolist()
        return tuple(sum(column) for column in columns)

    def any(self, flag: bool) -> bool:
        """Return whether any process says yes."""
        return flag if self.size == 1 else self.sums(float(flag))[0] > 0.0

    def texts(self, text: str | None) -> list[str | None]:
        """Return what each process says, in the order of ranks."""
        found: list[str | None] = [text]
        if self.size > 1:
            found *= self.size
            with self._exchange():
                distributed.all_gather_object(found, text)
        return found

    def first(self, text: str | None) -> str | None:
        """Return what the first process says that says anything."""
        return next((found for found in self.texts(text) if found is not None), None)

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """Count an exchange; raise LostProcessError when a process has gone in the middle of it."""
        try:
            with self.meetings.one():
                yield
        except RuntimeError as error:
            raise LostProcessError("another process of this run has ended, or cannot be reached any more") from error

    @contextmanager
    def together(self) -> Iterator[None]:
        """Wait for all processes after the block; an error that the user can mend, met by one, is raised by all."""
        if self.size == 1:
            yield
            return
        failure: UserError | OSError | None = None
        try:
            yield
        except CommonError:
            raise
        except (UserError, OSError) as error:
            failure = error
        told = self.texts(None if failure is None else _describe(failure))
        for rank, words in enumerate(told):
            if words is not None:
                # What the first process meets needs no address: it is the one that speaks.
                raise CommonError(words if rank == 0 else f"process {rank}: {words}") from failure

    def check(self, config: RunConfig) -> None:
        """Raise UserError for a config that these processes cannot share."""
        train = config.train
        parts = self.size * train.micro_batches
        if train.batch_size % parts:
            raise UserError(
                f"train.batch_size is {train.batch_size}; it must be a multiple of {parts}, the number of processes "
                f"({self.size}) times train.micro_batches ({train.micro_batches})."
            )
        if self.size > 1 and train.parallel == "fsdp" and train.sample_interval:
            raise UserError(
                f'train.parallel is "fsdp", and train.sample_interval is {train.sample_interval}, but one process '
                'writes samples alone; use train.parallel = "ddp" or train.sample_interval = 0 with several processes.'
            )
        judged = config.data.curriculum.judged if config.data.curriculum.epoch_steps else 0
        if self.size > 1 and train.parallel == "fsdp" and judged:
            raise UserError(
                f'train.parallel is "fsdp", which holds the model in shards, and data.curriculum.judged is {judged}; '
                'use train.parallel = "ddp" or data.curriculum.judged = 0 with several processes.'
            )
        if self.size > 1 and config.stage2.steps:
            raise UserError(f"stage2.steps is {config.stage2.steps}; a second stage is trained in one process.")
        if self.size > 1 and train.parallel == "fsdp" and (config.optim.filters or config.optim.name == "muon"):
            raise UserError(
                f'train.parallel is "fsdp", which holds matrices in shards, and optim.name is "{config.optim.name}", '
                'which needs whole ones; use train.parallel = "ddp" or optim.name = "adamw" with several processes.'
            )


ALONE = World(rank=0, size=1, local_rank=0)
"""The one process of a run that torchrun did not start."""


def _describe(error: UserError | OSError) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


@contextmanager
def processes() -> Iterator[World]:
    """Join the processes that torchrun started, and leave them at the end; ALONE where it started no other.

    A program should end by os._exit soon after, as the command line does: threads of gloo outlive the group, and one
    that still holds tensors aborts a process whose interpreter is being taken down.
    """
    size = _number("WORLD_SIZE") if "WORLD_SIZE" in os.environ else 1
    if size == 1:
        yield ALONE
        return
    rank, local_rank = _number("RANK"), _number("LOCAL_RANK")
    meetings = Meetings()
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store = _rendezvous(size, first=rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True")
    # A thread of its own needs a connection of its own.
    with Heartbeat(_rendezvous(size, first=False), rank, size, meetings).running():
        distributed.init_process_group(backend, timeout=PATIENCE, store=store, rank=rank, world_size=size)
        try:
            yield World(rank, size, local_rank, meetings)
        finally:
            distributed.destroy_process_group()


def _rendezvous(size: int, *, first: bool) -> PrefixStore:
    """Return the store where processes find each other; where torchrun keeps none, the first process does.

    It does not wait for the others, so that one that never comes is named as any other that is silent.
    """
    address, port = _variable("MASTER_ADDR"), _number("MASTER_PORT")
    patience = timedelta(seconds=LIMIT)
    try:
        store = TCPStore(address, port, size, first, patience, wait_for_workers=False, multi_tenant=first)
    except DistError as error:
        what = "process 0 cannot listen" if first else "no process answers"
        raise UserError(
            f"{what} at {address}:{port} (MASTER_ADDR, MASTER_PORT): {str(error).splitlines()[0]}"
        ) from error
    # A restart may be given the store of the try before it, with the addresses of processes that are gone.
    return PrefixStore(f"try-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _variable(name: str) -> str:
    """Return what torchrun tells; raise UserError when somebody else started several processes without it."""
    value = os.environ.get(name)
    if not value:
        raise UserError(
            f"WORLD_SIZE asks for several processes, so each needs {', '.join(VARIABLES)}; {name} is not set."
        )
    return value


def _number(name: str) -> int:
    """Return a number that torchrun tells; raise UserError for anything else."""
    value = _variable(name)
    if not value.isdecimal():
        raise UserError(f"{name} is {value!r}; it must be a whole number.")
    return int(value)
