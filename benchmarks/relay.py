"""Relay: what a recursion can do that one pass provably cannot, what it costs, and what leaving early costs.

    python -m benchmarks.relay [--seeds 0 1 2] [--variants NAME ...] [--steps 300] [--threads 1]

Trains the preset `relay` and variants of it that differ in nothing else: one pass (one iteration), twelve evaluations
in one iteration with a gradient through all of them, and the loss of StableMax. Then 1,024 rows that nobody trained on
are answered:

    answers     share of the tokens and of the rows that are right after each iteration, up to twice as many as trained;
                of the tokens that are farther than an iteration can have heard of, and of the others
    halting     iterations until the first that is thought right, beside those that the farthest token of a row needs
    early exit  what each threshold costs in accuracy and saves in time

The bound of one pass is a proof about what attention can see (`atlas_ref.data.relay`), so no training beats it, and
a far share above chance would be a leak.
"""

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from atlas_ref.config import RunConfig, load_config
from atlas_ref.config.cognate import CognateConfig
from atlas_ref.data.batch import Batch
from atlas_ref.data.relay import RelayTask, bound, distances
from atlas_ref.functional.supervision import first_halt
from atlas_ref.models.cognate import CognateModel
from atlas_ref.models.early_exit import answer_early
from atlas_ref.training.run import new_run
from atlas_ref.training.step import train_step
from benchmarks.report import machine, write_results

VARIANTS: Mapping[str, tuple[str, ...]] = {
    "recursion": (),
    "one pass": ("model.recursion.iterations=1",),
    "one iteration of twelve evaluations": ("model.recursion.iterations=1", "model.recursion.micro_steps=11"),
    "StableMax": ("data.relay.probabilities='stablemax'",),
}
THRESHOLDS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
ENOUGH = 0.99
"""Accuracy of tokens, on the batch of a step, at which a variant has learned the task."""


@dataclass(frozen=True)
class Trained:
    """A variant after its last step: seconds of the processor, and the step and seconds at which it had learned."""

    variant: str
    seed: int
    seconds: float
    learned_at: int | None
    learned_after: float | None


def train(name: str, seed: int, steps: int) -> tuple[Trained, CognateModel, RunConfig]:
    """Train a variant and return how it went."""
    config = load_config("relay", [*VARIANTS[name], f"train.seed={seed}", f"train.max_steps={steps}"])
    run, source = new_run(config, torch.device("cpu")), RelayTask(config.data, config.train)
    began, learned = time.process_time(), None
    streak = 0
    for step in range(steps):
        batch = source.batch(step)
        result = train_step(run.network, run.optimiser, batch, run.state, step, config)
        run.state = result.output.state
        right = float((result.output.logits.argmax(-1) == batch.targets).float().mean())
        streak = streak + 1 if right >= ENOUGH else 0
        # Ten batches in a row, so that a lucky one is no lesson.
        if learned is None and streak == 10:
            learned = step + 1, time.process_time() - began
    assert isinstance(run.model, CognateModel)
    at, after = learned or (None, None)
    return Trained(name, seed, time.process_time() - began, at, after), run.model, config


def deeper(model: CognateModel, iterations: int) -> CognateModel:
    """Return the model with more iterations of the same weights."""
    recursion = model.config.recursion.model_copy(update={"iterations": iterations})
    longer = CognateModel(model.config.model_copy(update={"recursion": recursion}), 0)
    longer.load_state_dict(model.state_dict())
    return longer


def test_rows(config: RunConfig) -> Batch:
    """Return 1,024 rows of the validation stream, after those that training may have looked at."""
    source = RelayTask(config.data, config.train)
    batches = [source.validation(1000 + index) for index in range(1024 // config.train.batch_size)]
    tokens, targets, reset = (torch.cat(parts) for parts in zip(*(batch.tensors() for batch in batches), strict=True))
    return Batch(tokens, targets, reset)


@torch.no_grad()
def answers(model: CognateModel, rows: Batch, symbols: int) -> list[dict[str, float]]:
    """Return what is right after each iteration: of tokens, rows, and of tokens far and near."""
    output = model(rows.tokens, model.initial_state(len(rows.tokens)), rows.reset)
    away, found = distances(rows, symbols), []
    for number, hidden in enumerate(output.recursion.hidden[1:], start=1):
        right = (hidden @ model.embedding.weight.mT).argmax(-1) == rows.targets
        far = away > reach(model.config, number)
        found.append(
            {
                "iteration": number,
                "tokens": float(right.float().mean()),
                "rows": float(right.all(-1).float().mean()),
                "far": float(right[far].float().mean()) if far.any() else math.nan,
                "near": float(right[~far].float().mean()),
            }
        )
    return found


def reach(model: CognateConfig, iterations: int) -> int:
    """Return how many places back some iterations can have heard of."""
    return iterations * model.recursion.recursions * (model.recursion.micro_steps + 1) * (model.window - 1)


@torch.no_grad()
def halting(model: CognateModel, rows: Batch, symbols: int) -> dict[str, float]:
    """Return the correlation of the iterations until a row halts with those that it needs, at its own threshold."""
    logits = model(rows.tokens, model.initial_state(len(rows.tokens)), rows.reset).recursion.halting
    assert logits is not None
    taken = first_halt(torch.sigmoid(logits.mean(-1)).mT, model.config.halting.threshold).double()
    per = reach(model.config, 1)
    needed = (distances(rows, symbols).amax(-1).double() / per).ceil().clamp(min=1)
    both = torch.stack([taken, needed])
    return {
        "correlation": float(torch.corrcoef(both)[0, 1]),
        "taken": float(taken.mean()),
        "needed": float(needed.mean()),
    }


def early_exit(model: CognateModel, rows: Batch) -> list[dict[str, float]]:
    """Return accuracy, iterations and time of each threshold, the time beside that of all iterations."""
    whole = _seconds(model, rows, 1.1)
    found = []
    for threshold in THRESHOLDS:
        left = answer_early(model, rows.tokens, threshold, rows.reset)
        right: Tensor = left.logits.argmax(-1) == rows.targets
        found.append(
            {
                "threshold": threshold,
                "iterations": float(left.made.double().mean()),
                "tokens": float(right.float().mean()),
                "rows": float(right.all(-1).float().mean()),
                "time": _seconds(model, rows, threshold) / whole,
            }
        )
    return found


def _seconds(model: CognateModel, rows: Batch, threshold: float) -> float:
    """Return the least of three times; no probability reaches a threshold above 1."""
    times = []
    for _ in range(3):
        began = time.process_time()
        answer_early(model, rows.tokens, threshold, rows.reset)
        times.append(time.process_time() - began)
    return min(times)


def examine(seed: int, steps: int, variants: Sequence[str]) -> dict[str, object]:
    """Train some variants of a seed and return all that is to be shown."""
    found: dict[str, object] = {"seed": seed}
    for name in variants:
        trained, model, config = train(name, seed, steps)
        rows, symbols = test_rows(config), config.data.relay.symbols
        twice = deeper(model, 2 * model.config.recursion.iterations)
        found[name] = {**asdict(trained), "answers": answers(twice, rows, symbols)}
        if name == "recursion":
            found["halting"], found["early exit"] = halting(model, rows, symbols), early_exit(model, rows)
        print(summary(name, found), flush=True)
    return found


def summary(name: str, found: Mapping[str, object]) -> str:
    """Return what one variant showed, in lines."""
    table = found[name]
    assert isinstance(table, dict)
    learned = "not" if table["learned_at"] is None else f"step {table['learned_at']}, {table['learned_after']:.1f} s"
    lines = [f"seed {found['seed']}, {name}: {table['seconds']:.1f} CPU-seconds; {ENOUGH:.0%} of tokens: {learned}"]
    lines += [
        f"  iteration {row['iteration']:>2}  tokens {row['tokens']:.3f}  rows {row['rows']:.3f}  "
        f"far {row['far']:.3f}  near {row['near']:.3f}"
        for row in table["answers"]
    ]
    if name == "recursion":
        halts, curve = found["halting"], found["early exit"]
        assert isinstance(halts, dict)
        assert isinstance(curve, list)
        lines.append(
            f"  halting: {halts['taken']:.2f} iterations, {halts['needed']:.2f} needed, correlation "
            f"{halts['correlation']:.3f}"
        )
        lines += [
            f"  early exit at {row['threshold']:.2f}: {row['iterations']:.2f} iterations, tokens {row['tokens']:.3f}, "
            f"rows {row['rows']:.3f}, {row['time']:.2f} of the time"
            for row in curve
        ]
    return "\n".join(lines)


def main() -> None:
    """Train, print and keep."""
    parser = argparse.ArgumentParser(description="Train relay with and without recursion.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of weights and data")
    parser.add_argument("--variants", nargs="+", choices=[*VARIANTS], default=[*VARIANTS], metavar="NAME", help="which")
    parser.add_argument("--steps", type=int, default=300, help="steps of each run")
    parser.add_argument("--threads", type=int, default=1, help="threads of the processor")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config, before = load_config("relay"), machine(options.threads)
    assert isinstance(config.any_model, CognateConfig)
    bounds = [
        bound(config.data.relay, config.data.sequence_length, reach(config.any_model, number)) for number in range(1, 7)
    ]
    print("bounds after 1 .. 6 iterations: " + ", ".join(f"{share:.3f}" for share in bounds))
    rows = [examine(seed, options.steps, options.variants) for seed in options.seeds]
    path = write_results("relay", {"machine": before, "steps": options.steps, "bounds": bounds, "rows": rows})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
