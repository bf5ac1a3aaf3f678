"""The tables and the picture of the study of the gates: verdict against truth, by the thresholds of the code as it is.

    precision   of what passes, the share that learned
    recall      of what learned, the share that passes

What learned, and what a gate says of it, stands in `gate_power_verdicts`. Shares have the exact interval of a binomial
(Clopper and Pearson 1934) at 95%.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import comb
from pathlib import Path
from typing import Any, Final

from benchmarks.gate_power_cases import FRESH, HALVES, SINCE, Case
from benchmarks.gate_power_verdicts import EARLIER, Judged, Lines, judge
from benchmarks.report import as_markdown
from preflight.meaning import Share
from preflight.rehearsal import FOLLOWS
from preflight.result import GateResult, Verdict, worst

OUT_OF_SIGHT: Final = "answers out of sight"
ALL, ANY = "all", "all, by any margin"
"""All gates against what learned, and against what beats its twin."""
SURE: Final = 0.95
"""Confidence of the interval of a share."""


@dataclass(frozen=True)
class Told:
    """All tables as one text, the cases that they are of, and a row for each as JSON."""

    text: str
    judged: Sequence[Judged]
    rows: Sequence[Mapping[str, object]]


def tables(found: Sequence[Case], lines: Lines) -> Told:
    """Return what the lines say of all cases whose parts are there."""
    judged = [each for case in found if (each := judge(case, lines)) is not None]
    missing = len(found) - len(judged)
    parts = [f"{len(judged)} configurations; {missing} without all of their parts"]
    for half, sight in product((*HALVES, SINCE, FRESH), ("all", OUT_OF_SIGHT)):
        some = [each for each in judged if each.case.half == half and (sight == "all" or each.out_of_sight)]
        if some:
            told = f"{len(some)} configurations, {sum(each.learned for each in some)} of which learned"
            parts += [f"\n{half}, {sight}: {told}", _power(some)]
    parts += ["\nevery configuration", _all(judged), "\nwhere verdict and truth disagree", _disagreements(judged)]
    if judged:
        parts += ["\n" + _alone(judged), _seconds(judged), f"held out: {_promised(judged).told()}"]
    return Told("\n".join(parts), judged, [_row(each) for each in judged])


def _power(some: Sequence[Judged]) -> str:
    """Return precision and recall of each gate and of all, now and before."""
    lines = [["gate", "passed, earlier", "precision", "recall", "passed", "precision", "recall"]]
    names = list(dict.fromkeys(name for each in some for name in each.gates))
    for name in [*names, ALL, ANY]:
        line, every = [name], name in (ALL, ANY)
        for when in ("earlier", "gates"):
            of = [(each, getattr(each, when)) for each in some if every or name in each.gates]
            said = [
                (each.passes(g if every else {name: g[name]}), each.beats if name == ANY else each.learned)
                for each, g in of
            ]
            line += _shares(said)
        lines.append(line)
    return as_markdown(lines)


def _shares(said: Sequence[tuple[bool, bool]]) -> list[str]:
    """Return how many passed, and precision and recall as counts and shares."""
    both = sum(passed and learned for passed, learned in said)
    passed, learned = (sum(column) for column in zip(*said, strict=True)) if said else (0, 0)
    return [f"{passed} of {len(said)}", _share(both, passed), _share(both, learned)]


def _share(part: int, whole: int) -> str:
    """Return a count, its share and the interval of that."""
    if not whole:
        return "none"
    low, high = binomial_interval(part, whole)
    return f"{part}/{whole} = {part / whole:.0%} [{low:.0%}, {high:.0%}]"


def binomial_interval(part: int, whole: int, confidence: float = SURE) -> tuple[float, float]:
    """Return the p with P(X >= part) = (1 - confidence) / 2, X binomial of `whole` and p, and its mirror image.

    Clopper and Pearson (1934): it covers the share with `confidence` at least. ValueError unless 0 <= part <= whole.
    """
    if not 0 <= part <= whole:
        raise ValueError(f"{part} of {whole}")
    tail = 0.5 * (1.0 - confidence)
    return _least(part, whole, tail), 1.0 - _least(whole - part, whole, tail)


def _least(part: int, whole: int, tail: float) -> float:
    """Return the p with P(X >= part) = tail, by bisection; 0 where part is 0."""
    low, high = 0.0, 1.0
    for _ in range(60):
        p = 0.5 * (low + high)
        above = sum(comb(whole, k) * p**k * (1.0 - p) ** (whole - k) for k in range(part, whole + 1))
        low, high = (low, p) if above > tail else (p, high)
    return 0.0 if part == 0 else low


def _all(judged: Sequence[Judged]) -> str:
    found = ["kept", "echo", "travel", "growth"]
    lines = [["case", "half", "margin", "interval", "learned", "earlier", "now", *found, "values"]]
    for each in judged:
        lines.append(
            [
                each.case.name,
                each.case.half,
                f"{each.margin:.3f}",
                f"{each.interval[0]:.3f} to {each.interval[1]:.3f}",
                "yes" if each.learned else "no",
                str(worst(list(each.earlier.values()))),
                str(worst(list(each.gates.values()))),
                *_measured(each),
                ", ".join(each.case.values),
            ]
        )
    return as_markdown(lines)


def _measured(each: Judged) -> list[str]:
    life = each.gates.get("proof-of-life")
    if life is None:
        return [""] * 4
    evidence: Any = life.evidence
    kept = evidence["span"]["kept_to_the_nearest"]
    echo = evidence["echo"]
    growth = [f"{check.statistic:.2f}" for check in life.checks if check.name == FOLLOWS]
    return [f"{kept:.3f}", "" if echo is None else f"{echo:.4f}", f"{evidence['travel']:.2f}", *(growth or [""])]


def _disagreements(judged: Sequence[Judged]) -> str:
    """Return each case that passed and did not learn, or learned and did not pass, with the checks that did it."""
    lines = [["case", "half", "gates", "truth", "margin", "what did not pass", "values"]]
    for when in ("earlier", "gates"):
        for each in judged:
            results = getattr(each, when)
            passed = each.passes(results)
            if passed == each.learned:
                continue
            blamed = [c.name for result in results.values() for c in result.checks if c.verdict is not Verdict.PASS]
            lines.append(
                [
                    each.case.name,
                    each.case.half,
                    "earlier" if when == EARLIER else "now",
                    "learned" if each.learned else "did not learn",
                    f"{each.margin:.3f}",
                    "; ".join(blamed) or "nothing",
                    ", ".join(each.case.values),
                ]
            )
    return as_markdown(lines)


def _alone(judged: Sequence[Judged]) -> str:
    """Return what each gate adds: the cases that it alone does not pass, and how many of these learned."""
    refused: dict[str, list[bool]] = {}
    for each in judged:
        names = [name for name, result in each.gates.items() if result.verdict is not Verdict.PASS]
        if len(names) == 1:
            refused.setdefault(names[0], []).append(each.learned)
    told = [f"{name} {len(learned)}, of which {sum(learned)} learned" for name, learned in sorted(refused.items())]
    return f"refused by one gate alone: {'; '.join(told) or 'none'}"


def _promised(judged: Sequence[Judged]) -> Share:
    """Return the share of held-out passes that learned where the memory alone can know the answers."""
    held = [each for each in judged if each.case.half in (HALVES[1], FRESH)]
    passed = [each for each in held if each.out_of_sight and each.passes(each.gates)]
    return Share(len(passed), sum(each.learned for each in passed))


def _seconds(judged: Sequence[Judged]) -> str:
    """Return what preflight costs and what it saves: the runs that it refuses and that would not have learned."""
    gates = sum(each.seconds["gates"] for each in judged)
    training = sum(each.seconds["memory"] for each in judged)
    refused = [each for each in judged if not each.passes(each.gates)]
    saved = sum(each.seconds["memory"] for each in refused if not each.learned)
    lost = sum(each.seconds["memory"] for each in refused if each.learned)
    return (
        f"preflight took {gates:.0f} s for {training:.0f} s of training; runs that it refuses would have taken "
        f"{saved:.0f} s to learn nothing, and {lost:.0f} s to learn"
    )


def _row(each: Judged) -> Mapping[str, object]:
    def said(gates: Mapping[str, GateResult]) -> dict[str, str]:
        return {name: str(result.verdict) for name, result in gates.items()}

    return {
        "case": each.case.name,
        "half": each.case.half,
        "values": list(each.case.values),
        "learned": each.learned,
        "margin": each.margin,
        "interval": list(each.interval),
        "gates": said(each.gates),
        "earlier": said(each.earlier),
        "seconds": dict(each.seconds),
    }


def draw(told: Told, path: Path) -> None:
    """Draw the margin of every case by verdict: above the line it learned, and blue passed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, when, title in zip(
        panels, ("earlier", "gates"), ("gates as they were", "gates that know the span"), strict=True
    ):
        for place, side in enumerate(("PASS", "not PASS")):
            some = [each for each in told.judged if each.passes(getattr(each, when)) == (side == "PASS")]
            for learned, colour in ((True, "tab:blue"), (False, "tab:orange")):
                points = [(n, each.margin) for n, each in enumerate(some) if each.learned is learned]
                spread = [place + 0.7 * (n / max(1, len(some) - 1) - 0.5) for n, _ in points]
                label = "learned" if learned else "did not learn"
                axes.scatter(spread, [m for _, m in points], s=14, color=colour, label=label if not place else None)
        axes.set_xticks([0, 1], ["PASS", "not PASS"])
        axes.set_title(title)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("margin over the twin without memory")
    panels[1].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
