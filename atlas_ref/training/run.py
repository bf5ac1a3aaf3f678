"""What changes from step to step, and how it is made: fresh from a config, or from a checkpoint."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from atlas_ref.config import RunConfig
from atlas_ref.config.run import AnyModelConfig
from atlas_ref.data.batch import BatchSource
from atlas_ref.data.encoding import refuse_more_tokens
from atlas_ref.data.streams import open_corpus
from atlas_ref.data.tokenizer import Tokenizer, tokenizer_from_json
from atlas_ref.data.whole import Split, WholeText
from atlas_ref.errors import UserError
from atlas_ref.memory.state import StateTree
from atlas_ref.models.family import Model
from atlas_ref.models.registry import build_model, family_of
from atlas_ref.processes.distributed import ALONE, World
from atlas_ref.processes.parallel import across, own_part, wrap
from atlas_ref.storage.checkpoint import META, MODEL, OPTIMISER, STATE, Checkpoint
from atlas_ref.storage.ranges import check_finite, check_optimiser, check_state
from atlas_ref.storage.sharded_checkpoint import cut_like
from atlas_ref.storage.switch_state import SwitchState
from atlas_ref.tasks.registry import task_of
from atlas_ref.training.graphed import Recordings
from atlas_ref.training.optimiser import OuterOptimiser, build_optimiser
from atlas_ref.training.stage2 import freeze

AVERAGE = "average.weights."
"""What the names of averages begin with, among the tensors of an optimiser."""


@dataclass
class Run:
    """A model in training: `step` updates were made, of which the first `saved` are in a checkpoint.

    `network` is the model as the processes of `world` train it, `state` that of the rows of this process, and
    `switches` what the kill switches remember. `recordings` has the steps that were recorded, None before the first.
    """

    model: Model
    network: nn.Module
    optimiser: OuterOptimiser
    state: StateTree
    step: int
    saved: int
    switches: SwitchState
    world: World
    device: torch.device
    recordings: Recordings | None = None

    def replays(self, config: RunConfig) -> Recordings | None:
        """Return the recorded steps of a run on one GPU; None anywhere else, or where the configuration wants none."""
        if config.train.graph == "off" or self.device.type != "cuda" or self.world.size > 1:
            return None
        if self.recordings is None:
            self.recordings = Recordings(self.model, self.network, self.optimiser, self.state, config)
        return self.recordings

    def news(self) -> str:
        """Return what there is to tell of recorded steps, nothing where it was told or none can be."""
        return "" if self.recordings is None else self.recordings.news()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return everything a checkpoint holds, by file name; what is in several processes is a DTensor."""
        return {
            MODEL: dict(self.model.state_dict()),
            OPTIMISER: self.optimiser.to_tensors(),
            STATE: across(self.state.to_tensors(), self.world, self.device),
        }


def new_run(config: RunConfig, device: torch.device, world: World = ALONE, update: int = 0) -> Run:
    """Return model, optimiser and memory state, of the rows of this process, as they are before the first step.

    They are those that make update number `update`: what does not learn in its stage has no place in the optimiser.
    """
    model = build_model(config.of_update(update).any_model, config.train.seed).to(device)
    freeze(model, config, update)
    mine = world.rows(config.train.batch_size)
    state = model.initial_state(mine.stop - mine.start).detach()
    network = wrap(model, world, config.train.parallel, device)
    return Run(
        model=model,
        network=network,
        # After `wrap`, which may have put shards in the place of the parameters.
        optimiser=build_optimiser(model, config.optim),
        state=state,
        step=0,
        saved=0,
        switches=SwitchState(),
        world=world,
        device=device,
    )


def check_size(checkpoint: Checkpoint) -> None:
    """Raise UserError when the config describes more weights than the files hold, before memory is asked for them."""
    model = checkpoint.config.any_model
    count, held = family_of(model).count_parameters(model), sum(record.bytes for record in checkpoint.files.values())
    if 4 * count > held:
        raise UserError(
            f"{checkpoint.path / META}: describes a model of {count:,} parameters, more than are in its {held:,} bytes."
        )


def restore(run: Run, checkpoint: Checkpoint) -> None:
    """Put a checkpoint into a new run; raise UserError, naming the file, for anything that does not fit it."""
    put_weights(run.model, checkpoint)
    with _blamed_on(checkpoint, OPTIMISER, run.optimiser.like()) as tensors:
        if checkpoint.step > 0 and not tensors:
            raise UserError("holds nothing of what the optimiser remembers.")
        run.optimiser.from_tensors(tensors)
        check_optimiser(tensors, checkpoint.step)
    like = across(run.state.to_tensors(), run.world, run.device)
    with _blamed_on(checkpoint, STATE, like) as tensors:
        # A process reads its rows of each tensor; one that does not fit in `like` was read whole, and is refused.
        run.state = run.state.from_tensors({name: own_part(tensor) for name, tensor in tensors.items()})
        check_state(tensors, checkpoint.step, checkpoint.config)
    run.step = run.saved = checkpoint.step
    run.switches = checkpoint.switches


def load_model(checkpoint: Checkpoint, device: torch.device, served: AnyModelConfig | None = None) -> Model:
    """Return the model of a checkpoint, without optimiser and memory state; `served` is how it is to compute.

    Where its configuration keeps an average of the weights, the model has the average, as in validation.
    """
    check_size(checkpoint)
    model = build_model(served or checkpoint.config.any_model, checkpoint.config.train.seed)
    put_weights(model, checkpoint)
    if checkpoint.config.optim.average:
        put_average(model, checkpoint)
    return model.to(device)


def put_weights(model: Model, checkpoint: Checkpoint) -> None:
    """Overwrite the weights of `model`; raise UserError at a tensor that is missing, unknown or of another shape."""
    expected = dict(model.state_dict())
    with _blamed_on(checkpoint, MODEL, expected) as tensors:
        _put(tensors, expected)


def put_average(model: Model, checkpoint: Checkpoint) -> None:
    """Overwrite the parameters of `model` by the averages that the optimiser keeps; errors as of `put_weights`."""
    expected = {AVERAGE + name: parameter.detach() for name, parameter in model.named_parameters()}
    with _blamed_on(checkpoint, OPTIMISER, expected) as tensors:
        _put({name: tensor for name, tensor in tensors.items() if name.startswith(AVERAGE)}, expected)


def _put(tensors: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
    """Copy each tensor into the target of its name; raise UserError at one that does not fit."""
    if different := sorted(set(targets) ^ set(tensors)):
        what = "is missing" if different[0] in targets else "is not one of this model"
        raise UserError(f"tensor '{different[0]}' {what}.")
    for name, target in targets.items():
        found = tensors[name]
        if found.shape != target.shape or found.dtype != target.dtype:
            raise UserError(
                f"tensor '{name}' is {found.dtype} {list(found.shape)}, expected {target.dtype} {list(target.shape)}."
            )
    check_finite(tensors)
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(tensors[name])


def open_data(config: RunConfig, checkpoint: Checkpoint | None) -> BatchSource:
    """Return the source that the config names, read with the tokenizer of the checkpoint where there is one."""
    return task_of(config.data).source(config, None if checkpoint is None else tokenizer_of(checkpoint))


def open_text(config: RunConfig, checkpoint: Checkpoint, split: Split) -> WholeText:
    """Return a part of the text that the config names, to be judged as a whole; raise UserError where there is none."""
    tokenizer = tokenizer_of(checkpoint)
    if tokenizer is None:
        raise UserError(f"{checkpoint.path}: was trained on {checkpoint.config.data.source}, which is not text.")
    if config.data.source in ("answers", "sets"):
        raise UserError(f"{checkpoint.path}: was trained on answers, of which the validation part alone is judged.")
    return WholeText(open_corpus(config.data), split, tokenizer, config)


def tokenizer_of(checkpoint: Checkpoint) -> Tokenizer | None:
    """Return the tokenizer of a checkpoint, or None where it was trained on what is no text.

    Raises UserError, naming the file, for one of which the checkpoint says another number of tokens, or with more than
    the model has.
    """
    if checkpoint.tokenizer is None:
        return None
    file = str(checkpoint.path / META)
    tokenizer = tokenizer_from_json(checkpoint.tokenizer, file)
    if tokenizer.vocab_size != checkpoint.tokens:
        raise UserError(f"{file}: its tokenizer has {tokenizer.vocab_size:,} tokens, not {checkpoint.tokens:,}.")
    refuse_more_tokens(file, tokenizer, checkpoint.config)
    return tokenizer


def refuse_other_data(source: BatchSource, checkpoint: Checkpoint) -> None:
    """Raise UserError, saying which file, when the data are not those that the run of a checkpoint was trained on."""
    change = checkpoint.data.difference(source.identity)
    if change is not None:
        raise UserError(
            f"{checkpoint.path}: the data are not those that this run was trained on ({change}); "
            "bring them back, or start another run on these."
        )


def select_device(name: str) -> torch.device:
    """Return the device that a config names; `auto` is CUDA where there is one."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError('train.device is "cuda", but no CUDA device is available; it must be "cpu" or "auto" here.')
    return torch.device("cuda" if available and name != "cpu" else "cpu")


@contextmanager
def _blamed_on(checkpoint: Checkpoint, name: str, like: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Provide the tensors of one file, cut as those of `like` are, and put its path in front of what is wrong."""
    tensors = cut_like(checkpoint.tensors(name, like), like)
    try:
        yield tensors
    except UserError as error:
        raise UserError(f"{checkpoint.path / name}: {error}") from error
