"""False alarms and missed faults: every gate on healthy subjects over many seeds, and on every broken one.

    python -m benchmarks.false_alarms --config NAME [--seeds 20] [--first 0] [--device auto] [--jobs 1]
                                      [--set A.B=C ...]
    python -m benchmarks.false_alarms --controls [--jobs 1] [--set A.B=C ...]

The first form examines a configuration that is meant to be healthy, with the budget of `atlas preflight`; seed s is
that of the weights, the data and the draws, as with `atlas preflight --seed s`. Whatever is not PASS is a false alarm.
The second form examines every broken subject of `preflight.controls` on the micro model of the tests, by its own gate
and by all others; only its own must FAIL it. `--set "model.block='mac'"` examines those of another family.

A process examines one subject at a time, with one thread; `--jobs` of them run side by side, and share the GPUs evenly
where there are several.
"""

import argparse
import multiprocessing
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing.queues import SimpleQueue
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch

from atlas_ref.config import RunConfig, load_config
from atlas_ref.errors import UserError
from benchmarks.report import as_markdown, machine, write_results
from preflight.budget import default_budget
from preflight.controls.ablation import ABLATION_CONTROLS
from preflight.controls.gain import GAIN_CONTROLS, TANH
from preflight.controls.seeds import SEED_CONTROLS
from preflight.controls.state import STATE_CONTROLS
from preflight.gates import GATES
from preflight.result import GateResult, Verdict
from preflight.subject import HEALTHY, Control
from spec_tests.preflight.micro import BUDGET, micro_config

CONTROLS = (*GAIN_CONTROLS, *STATE_CONTROLS, *SEED_CONTROLS, *ABLATION_CONTROLS)
CONTROL_BUDGET = replace(BUDGET, probe_steps=120, batches=12)
"""Twice that of the tests: every healthy micro model passes every gate with it, those with a tanh gate too."""
HEALTHY_MICRO = (Control(HEALTHY, gate="", also=(), overrides=()), Control(HEALTHY, gate="", also=(), overrides=TANH))
"""What the broken subjects are compared with: the micro model as it is, and with the gate that some of them break."""


class Case(NamedTuple):
    """One subject: a healthy configuration with its seed, or a control by its place in the table."""

    name: str
    config: str
    overrides: tuple[str, ...]
    seed: int
    control: int | None


class Outcome(NamedTuple):
    """What every gate said of a subject, the seconds of all of them together, and the device."""

    case: Case
    gates: tuple[GateResult, ...]
    seconds: float
    device: str


def healthy_cases(config: str, overrides: Sequence[str], seeds: range) -> list[Case]:
    """Return a case for each seed."""
    return [Case(f"{config}, seed {seed}", config, tuple(overrides), seed, None) for seed in seeds]


def control_cases(overrides: Sequence[str]) -> list[Case]:
    """Return a case for each control, each subject once, after the healthy ones; those that overrides exclude are out.

    A family has what it has: a hierarchy has no tanh gate that could be broken.
    """
    named = {(c.subject.name, c.overrides): index for index, c in reversed(list(enumerate(table())))}
    cases = [Case(table()[index].subject.name, "", tuple(overrides), 0, index) for index in sorted(named.values())]
    return [case for case in cases if _exists(table()[case.control or 0], overrides)]


def _exists(control: Control, overrides: Sequence[str]) -> bool:
    try:
        micro_config(*control.overrides, *overrides)
    except UserError as error:
        print(f"left out: {control.subject.name}: {error}", file=sys.stderr)
        return False
    return True


def table() -> tuple[Control, ...]:
    """Return everything that the second form examines."""
    return (*HEALTHY_MICRO, *CONTROLS)


def examine(case: Case) -> Outcome:
    """Run every gate on a subject, in this process."""
    torch.set_num_threads(1)
    started = perf_counter()
    if case.control is None:
        config = load_config(case.config, [*case.overrides, f"train.seed={case.seed}"])
        subject, budget = HEALTHY, default_budget(config)
    else:
        control = table()[case.control]
        config = micro_config(*control.overrides, *case.overrides)
        subject, budget = control.subject, CONTROL_BUDGET
    gates = tuple(gate(config, subject, case.seed, budget) for gate in GATES.values())
    return Outcome(case, gates, perf_counter() - started, _device(config))


def _take_gpu(places: "SimpleQueue[int]") -> None:
    """Give this process the GPU of its place in the pool; the next ones follow, and after the last the first again."""
    if torch.cuda.is_available():
        torch.cuda.set_device(places.get() % torch.cuda.device_count())


def _device(config: RunConfig) -> str:
    from atlas_ref.training.run import select_device

    device = select_device(config.train.device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def examine_all(cases: Sequence[Case], jobs: int) -> Iterator[Outcome]:
    """Examine all cases in processes of one thread, `jobs` at a time, and yield each outcome as it ends."""
    # Idle OpenMP threads wait in a loop: one thread a process lets several share a machine.
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    places: SimpleQueue[int] = context.SimpleQueue()
    for place in range(jobs):
        places.put(place)
    with ProcessPoolExecutor(jobs, context, _take_gpu, (places,)) as pool:
        for future in as_completed([pool.submit(examine, case) for case in cases]):
            outcome = future.result()
            verdicts = ", ".join(f"{result.gate} {result.verdict}" for result in outcome.gates)
            print(f"{outcome.case.name}: {verdicts} ({outcome.seconds:.1f} s)", file=sys.stderr, flush=True)
            for check in alarms([outcome]):
                print(f"    {check}", file=sys.stderr, flush=True)
            yield outcome


def alarms(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a sentence for each check that did not pass."""
    return [
        f"{result.gate}: {check.name} {check.verdict}: {check.sentence}"
        for outcome in outcomes
        for result in outcome.gates
        for check in result.checks
        if check.verdict is not Verdict.PASS
    ]


def healthy_table(outcomes: Sequence[Outcome]) -> str:
    """Return a Markdown table with a line for each gate: verdicts, the checks that did not pass, and seconds."""
    lines = [["gate", *Verdict, "checks that did not pass", "median s", "largest s"]]
    for name in GATES:
        results = [result for outcome in outcomes for result in outcome.gates if result.gate == name]
        seconds = [result.seconds for result in results]
        found = Counter(check.name for r in results for check in r.checks if check.verdict is not Verdict.PASS)
        counts = Counter(result.verdict for result in results)
        lines.append(
            [
                name,
                *(str(counts[verdict]) for verdict in Verdict),
                ", ".join(f"{check} ({count})" for check, count in found.items()) or "none",
                f"{median(seconds):.1f}",
                f"{max(seconds):.1f}",
            ]
        )
    return as_markdown(lines)


def control_table(outcomes: Sequence[Outcome]) -> str:
    """Return a Markdown table: what each gate said of each subject, in bold where the gate must FAIL it."""
    lines = [["subject", *GATES]]
    for outcome in sorted(outcomes, key=lambda each: each.case.control or 0):
        control = table()[outcome.case.control or 0]
        with_tanh = ", tanh gate" if control.overrides == TANH else ""
        meant = {each.gate for each in CONTROLS if each.subject.name == control.subject.name}
        verdicts = [f"**{r.verdict}**" if r.gate in meant else str(r.verdict) for r in outcome.gates]
        lines.append([control.subject.name + with_tanh, *verdicts])
    return as_markdown(lines)


def missed(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a sentence for each control that its own gate did not FAIL."""
    return [
        f"{each.subject.name} is {result.verdict} at {result.gate}"
        for outcome in outcomes
        for each in CONTROLS
        for result in outcome.gates
        if each.subject.name == outcome.case.name and each.gate == result.gate and result.verdict is not Verdict.FAIL
    ]


def as_json(outcome: Outcome) -> dict[str, object]:
    """Return an outcome with every number behind it."""
    gates = [result.model_dump(mode="json") for result in outcome.gates]
    return {**outcome._asdict(), "case": outcome.case._asdict(), "gates": gates}


def main() -> None:
    """Examine, keep the results after each subject, and print the table."""
    parser = argparse.ArgumentParser(description="Count false alarms of healthy subjects, or missed faults.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="NAME|PATH", help="a configuration that is meant to be healthy")
    what.add_argument("--controls", action="store_true", help="examine every broken subject instead")
    parser.add_argument("--seeds", type=int, default=20, help="number of seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="A.B=C", help="change a field")
    options = parser.parse_args()
    overrides = [*options.overrides, f"train.device='{options.device}'"]
    seeds = range(options.first, options.first + options.seeds)
    cases = control_cases(options.overrides) if options.controls else healthy_cases(options.config, overrides, seeds)
    of = "-".join(["controls", *options.overrides]) if options.controls else f"false_alarms_{cases[0].config}"
    name = re.sub(r"[^\w-]", "_", of)
    before, outcomes, started = machine(1), list[Outcome](), perf_counter()
    for outcome in examine_all(cases, options.jobs):
        outcomes.append(outcome)
        found = {"machine": before, "jobs": options.jobs, "seconds": perf_counter() - started}
        path = write_results(name, {**found, "outcomes": [as_json(each) for each in outcomes]})
    print(control_table(outcomes) if options.controls else healthy_table(outcomes))
    print("\n".join(missed(outcomes) if options.controls else alarms(outcomes)) or "nothing to report")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
