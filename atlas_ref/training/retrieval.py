"""What the memory is worth in episodes: the same questions, asked of what was stored and of what was not.

| arm      | the memory that the retrieval phase starts from                                          |
|----------|------------------------------------------------------------------------------------------|
| stored   | what the storage phase of the row left                                                   |
| skipped  | a fresh one: nothing was stored                                                          |
| other    | what another episode left                                                                |
| swapped  | that of the row beside it, 2 i and 2 i + 1 exchanged                                     |
| zeroed   | what the row stored, with every number of the memory zero and its position kept          |

`retrieval/gain` is stored - skipped, answer by answer, with its 95% interval (`metrics.retrieval`). Where answers are
drawn, rows in a pair are asked the same and were told different things: `retrieval/followed` is the share of answers of
one token in the arm `swapped` that are right by the *other* row, so what is said was read out of the memory.

Nothing but the phase of a token tells the arms apart: contexts begin with every piece, so attention and convolution
hold nothing of the storage phase in any of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from atlas_ref.data.batch import Batch, EpisodicSource
from atlas_ref.memory.contents import zeroed
from atlas_ref.memory.state import StateTree
from atlas_ref.metrics.retrieval import Answered, Interval, answered, interval, retrieval_gain
from atlas_ref.models.family import Model
from atlas_ref.processes.parallel import fresh_state, is_sharded
from atlas_ref.storage.retention import GAIN
from atlas_ref.training.arithmetic import without_denormals
from atlas_ref.training.context import Context
from atlas_ref.training.run import Run
from atlas_ref.training.step import forward, to_device

ARMS = ("stored", "skipped", "other", "swapped", "zeroed")


class Asked(NamedTuple):
    """What became of the answers of some rows: in each arm, and in `swapped` judged by the row beside."""

    arms: dict[str, Answered]
    followed: Answered


@without_denormals()
def verify_retrieval(
    model: Model, source: EpisodicSource, episodes: int, precision: str, outer_step: int | None = None
) -> dict[str, float]:
    """Return the accuracy of whole answers in each arm, and the gain, under the keys of the log (module docstring).

    The first `episodes` validation episodes are read, each row from a fresh memory, at the schedules of `outer_step`.
    Every process reads all rows, and all return the same numbers.
    """
    device = next(model.parameters()).device

    def read(batch: Batch, state: StateTree) -> tuple[Tensor, StateTree]:
        output = forward(model, batch, state, precision, outer_step)
        return output.logits.argmax(-1), output.state

    with torch.no_grad() if is_sharded(model) else torch.inference_mode():
        fresh = fresh_state(model, len(source.episode(0).storage.tokens), device)
        found, last = list[Asked](), read(to_device(source.episode(episodes).storage, device), fresh)[1]
        for index in range(episodes):
            phases = source.episode(index)
            stored = read(to_device(phases.storage, device), fresh)[1]
            states = (stored, fresh, last, stored.map(beside), zeroed(stored))
            found.append(_ask(to_device(phases.retrieval, device), dict(zip(ARMS, states, strict=True)), read, source))
            last = stored
    return _measures(found)


def beside(rows: Tensor) -> Tensor:
    """Return rows 2 i and 2 i + 1 exchanged; there is an even number of them."""
    return rows[torch.arange(len(rows), device=rows.device) ^ 1]


Read = Callable[[Batch, StateTree], tuple[Tensor, StateTree]]
"""Returns what is said at every place of a batch, and the state behind it."""


def _ask(batch: Batch, states: dict[str, StateTree], read: Read, source: EpisodicSource) -> Asked:
    """Ask every arm the questions of a retrieval phase."""
    assert batch.episode is not None
    said = {name: read(batch, state)[0] for name, state in states.items()}
    answer = batch.episode.answer
    arms = {name: answered(tokens, batch.targets, answer, source.numbers) for name, tokens in said.items()}
    # Of several tokens the later ones were read with the first ones of the row's own answer before them.
    alone = answer * _one_token(answer)
    theirs = torch.where((alone == beside(alone)) & (alone > 0), beside(batch.targets), batch.targets)
    differs = alone * ((theirs != batch.targets) & (alone > 0))
    return Asked(arms, answered(said["swapped"], theirs, differs, source.numbers))


def _one_token(answer: Tensor) -> Tensor:
    """Return which places are of an answer of one token."""
    counts = answer.new_zeros(len(answer), int(answer.max()) + 1).scatter_add(1, answer, torch.ones_like(answer))
    return counts.gather(1, answer) == 1


def _measures(found: list[Asked]) -> dict[str, float]:
    """Return what the log gets of all rows of all episodes together."""
    arms = {name: _joined([asked.arms[name] for asked in found]) for name in ARMS}
    stored, skipped = arms["stored"], arms["skipped"]
    gain = retrieval_gain(stored.right.double(), skipped.right.double(), stored.asked)
    values = {GAIN: gain.gain.mean, f"{GAIN}_low": gain.gain.low, f"{GAIN}_high": gain.gain.high}
    for name, arm in arms.items():
        values |= _told(name, interval(arm.right.double(), arm.asked))
        for kind, chosen in (("words", ~arm.number), ("sums", arm.number)):
            of_kind = arm.asked & chosen
            if of_kind.any():
                values[f"retrieval/{name}_{kind}"] = interval(arm.right.double(), of_kind).mean
    followed = _joined([asked.followed for asked in found])
    if followed.asked.any():
        values["retrieval/followed"] = interval(followed.right.double(), followed.asked).mean
    return {name: float(value) for name, value in values.items()}


def _told(name: str, found: Interval) -> dict[str, Tensor]:
    return {
        f"retrieval/{name}": found.mean,
        f"retrieval/{name}_low": found.low,
        f"retrieval/{name}_high": found.high,
    }


def _joined(parts: list[Answered]) -> Answered:
    """Return the answers of several batches of rows, as many a row as any has."""
    most = max(part.asked.shape[1] for part in parts)
    return Answered(*(torch.cat([_widened(x, most) for x in each]) for each in zip(*parts, strict=True)))


def _widened(x: Tensor, most: int) -> Tensor:
    return torch.nn.functional.pad(x, (0, most - x.shape[1]))


def watch_retrieval(run: Run, context: Context) -> dict[str, float]:
    """Return what the log gets of the step reached beside its validation: nothing where there are no episodes."""
    if not isinstance(context.source, EpisodicSource):
        return {}
    settings = context.config.train
    return verify_retrieval(run.model, context.source, context.config.judged_episodes, settings.precision, run.step)
