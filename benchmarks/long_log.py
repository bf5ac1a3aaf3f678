"""What the page of `atlas watch` costs its server on a long log: to open it, to read all of it, to follow a line more.

    python -m benchmarks.long_log [--lines 100000] [--keys telemetry|source]

The log has every field of telemetry in two layers, 73 keys, 3,500 bytes a line; or on every line all metrics of the
source system (docs/metrics.md), but for three that measure nothing. Seconds are those of the processor, beside what
`json.loads` of the whole log takes in the same process. The page is open with the first answer, and asks
for the others one after another.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from atlas_ref.blocks.telemetry import LayerTelemetry
from benchmarks.report import machine, write_results
from cli.dashboard.watched import Watch
from spec_tests.package.metrics.source_measures import CASES

NAMES = tuple(LayerTelemetry._fields[:-1])
KEYS = (
    *("train/loss", "train/lr", "train/grad_norm", "train/mfu"),
    *(f"memory/{name}" for name in NAMES),
    *(f"memory/layer_{layer}/{name}" for layer in range(2) for name in NAMES),
)
LOGS: Mapping[str, Sequence[str]] = {
    "telemetry": KEYS,
    "source": tuple(dict.fromkeys(case.key for case in CASES.values() if case.key != "step")),
}


def write_log(path: Path, lines: int, keys: Sequence[str]) -> None:
    """Write a log of numbers drawn at random, with a validation every hundred lines."""
    draw = random.Random(0).random
    with path.open("w") as log:
        for step in range(1, lines + 1):
            line = {"step": step, **{key: draw() for key in keys}, **({"val/loss": draw()} if step % 100 == 0 else {})}
            log.write(json.dumps(line) + "\n")


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description="What the page of atlas watch costs on a long log.")
    parser.add_argument("--lines", type=int, default=100_000, help="lines of the log")
    parser.add_argument("--keys", choices=[*LOGS], default="telemetry", help="what every line has")
    options = parser.parse_args()
    lines, keys = options.lines, LOGS[options.keys]
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "metrics.jsonl"
        write_log(log, lines, keys)
        watch = Watch([Path(place)])
        run = watch.find(watch.rows()[0]["id"])
        assert run is not None
        began = time.process_time()
        told = run.told(0, 0, "")
        opened = time.process_time() - began
        first, answers = told["since"], 1
        while told["more"]:
            told = run.told(told["generation"], told["since"], told["version"])
            answers += 1
        whole = time.process_time() - began
        with log.open("a") as more:
            more.write(json.dumps({"step": lines + 1, **dict.fromkeys(keys, 0.5)}) + "\n")
        began = time.process_time()
        body = json.dumps(run.told(told["generation"], told["since"], told["version"]))
        followed = time.process_time() - began
        began = time.process_time()
        with log.open("rb") as parsed:
            for line in parsed:
                json.loads(line)
        plain, size = time.process_time() - began, log.stat().st_size
    print(
        f"{lines:,} lines of {len(keys)} keys, {size / 1e6:.0f} MB; json.loads of all: {plain:.2f} s of the processor"
    )
    print(f"first answer, with {first:,} lines: {opened:.2f} s; all {answers} answers: {whole:.2f} s")
    print(f"a line more: {followed * 1000:.1f} ms and {len(body):,} bytes")
    found = {
        "machine": machine(1),
        "lines": lines,
        "keys": options.keys,
        "bytes": size,
        "json_loads": plain,
        "first": opened,
        "all": whole,
    }
    print(f"wrote {write_results('long_log', {**found, 'follow': followed, 'follow_bytes': len(body)})}")


if __name__ == "__main__":
    main()
