"""Which charts the page has, in which order, and which curves lie in each; what is named nowhere gets its own."""

from typing import NamedTuple

from cli.labels import LABELS


class Curve(NamedTuple):
    """A key of the log, what it is called in its panel, and whether it is drawn as a main or as a side line."""

    key: str
    name: str = ""
    side: bool = False


class Panel(NamedTuple):
    """A chart: the heading that it stands under, its title and unit, and its curves, those that a run has."""

    group: str
    title: str
    unit: str
    curves: tuple[Curve, ...]


def _named(group: str, name: str, *curves: Curve) -> Panel:
    """Return the panel of a metric of LABELS, with its one curve where no others are given."""
    title, unit = LABELS[name]
    return Panel(group, title, unit, curves or (Curve(name if "/" in name else f"memory/{name}"),))


def _of_memory(name: str, *curves: Curve) -> Panel:
    return _named("Memory", name, *curves)


LEARNING, CURRICULUM, GATES, HALTING, MACHINE = "Learning", "Curriculum", "Gates", "Halting", "Machine"
PANELS = (
    _named(LEARNING, "loss", Curve("val/loss", "validation"), Curve("train/loss", "training", side=True)),
    Panel(
        LEARNING,
        "Accuracy",
        "share of what is scored",
        (
            Curve("val/accuracy", "validation"),
            Curve("train/accuracy", "training", side=True),
            Curve("val/answer_accuracy", "whole answers"),
            Curve("val/row_accuracy", "whole rows"),
        ),
    ),
    _named(LEARNING, "train/grad_norm"),
    _named(LEARNING, "train/lr"),
    Panel(
        LEARNING,
        "Perplexity",
        "tokens",
        (Curve("val/perplexity", "validation"), Curve("train/perplexity", "training", side=True)),
    ),
    Panel(
        LEARNING,
        "What is minimised",
        "nats",
        (
            Curve("train/minimised", "in all"),
            Curve("train/loss_supervised", "answers", side=True),
            Curve("train/loss_halting", "halting"),
            Curve("train/loss_gate", "gate's entropy"),
            Curve("train/loss_polarisation", "polarisation"),
        ),
    ),
    Panel(LEARNING, "Stage", "of the plan", (Curve("train/stage", "stage"),)),
    Panel(CURRICULUM, "Stage of the curriculum", "1 to 3", (Curve("train/curriculum_stage"),)),
    Panel(CURRICULUM, "Epoch", "from 1", (Curve("train/epoch"),)),
    Panel(CURRICULUM, "Loss of right answers", "nats per token", (Curve("epoch/val_loss"),)),
    Panel(CURRICULUM, "Time of an epoch", "minutes", (Curve("epoch/minutes"),)),
    *(
        Panel(CURRICULUM, f"Right in {domain}", "share of answers", (Curve(f"epoch/accuracy/{domain}"),))
        for domain in ("math", "code", "science", "commonsense", "reasoning", "qa", "language")
    ),
    _named(
        GATES,
        "gate_mean",
        Curve("memory/gate_mean", "mean"),
        Curve("memory/gate_min", "least", side=True),
        Curve("memory/gate_max", "largest", side=True),
    ),
    _named(GATES, "gate_std"),
    Panel(
        GATES,
        "Decided and undecided gates",
        "share of gates",
        (
            Curve("memory/gate_polarised", "beyond 0.1 and 0.9"),
            Curve("memory/gate_undecided", "0.4 to 0.6", side=True),
        ),
    ),
    _named(GATES, "memory_share"),
    _of_memory("memory_norm"),
    _of_memory("update_magnitude"),
    _of_memory("momentum_norm"),
    _of_memory("omega_loss"),
    _of_memory("retention"),
    _of_memory("step_size"),
    _of_memory("newton_schulz_error"),
    Panel("Memory", "What is read", "Euclidean norm", (Curve("memory/read_norm"),)),
    Panel("Memory", "Slots in use", "share of slots", (Curve("memory/memory_usage"),)),
    Panel(
        "Memory",
        "What is new",
        "share of tokens; novelty",
        (Curve("memory/surprise_rate", "kept"), Curve("memory/novelty", "novelty", side=True)),
    ),
    Panel(
        HALTING,
        "Iterations until it halts",
        "iterations",
        (
            Curve("memory/halting_steps", "mean"),
            Curve("memory/halting_steps_min", "least", side=True),
            Curve("memory/halting_steps_max", "largest", side=True),
            Curve("val/halting_steps", "validation"),
        ),
    ),
    Panel(
        HALTING,
        "Probability of halting",
        "probability",
        (Curve("memory/halting_mean", "mean"), Curve("memory/halting_std", "deviation", side=True)),
    ),
    Panel(HALTING, "Change of the answer in the last iteration", "share of its norm", (Curve("memory/update_ratio"),)),
    Panel(
        "Grokking",
        "Concentration of frequencies",
        "share of energy",
        (Curve("grokking/concentration", "numbers"), Curve("grokking/concentration_null", "by chance", side=True)),
    ),
    Panel("Grokking", "Phase", "0 none to 4 grokked", (Curve("grokking/phase"),)),
    Panel(MACHINE, "Speed", "tokens a second", (Curve("train/tokens_per_second"),)),
    Panel(MACHINE, "Memory of the process", "bytes", (Curve("train/memory_bytes"),)),
    Panel(MACHINE, "Memory that the allocator holds", "bytes", (Curve("train/memory_reserved_bytes"),)),
    Panel(MACHINE, "Use of the device", "share of its operations", (Curve("train/mfu"),)),
    Panel(MACHINE, "Time of training", "hours", (Curve("train/hours"),)),
)
