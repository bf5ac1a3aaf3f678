"""What the page of `atlas watch` costs its server on a long log: to open it, to read all of it, to follow a line more.

    python -m benchmarks.long_log [--lines 100000]

The log has every field of telemetry in two layers: 73 keys, 3,500 bytes a line. Seconds are those of the processor,
beside what `json.loads` of the whole log takes in the same process. The page is open with the first answer, and asks
for the others one after another.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from atlas_ref.blocks.telemetry import LayerTelemetry
from benchmarks.report import machine, write_results
from cli.dashboard.watched import Watch

NAMES = tuple(LayerTelemetry._fields[:-1])
KEYS = (
    *("train/loss", "train/lr", "train/grad_norm", "train/mfu"),
    *(f"memory/{name}" for name in NAMES),
    *(f"memory/layer_{layer}/{name}" for layer in range(2) for name in NAMES),
)


def write_log(path: Path, lines: int) -> None:
    """Write a log of numbers drawn at random, with a validation every hundred lines."""
    draw = random.Random(0).random
    with path.open("w") as log:
        for step in range(1, lines + 1):
            line = {"step": step, **{key: draw() for key in KEYS}, **({"val/loss": draw()} if step % 100 == 0 else {})}
            log.write(json.dumps(line) + "\n")


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description="What the page of atlas watch costs on a long log.")
    parser.add_argument("--lines", type=int, default=100_000, help="lines of the log")
    lines = parser.parse_args().lines
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "metrics.jsonl"
        write_log(log, lines)
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
            more.write(json.dumps({"step": lines + 1, **dict.fromkeys(KEYS, 0.5)}) + "\n")
        began = time.process_time()
        body = json.dumps(run.told(told["generation"], told["since"], told["version"]))
        followed = time.process_time() - began
        began = time.process_time()
        with log.open("rb") as parsed:
            for line in parsed:
                json.loads(line)
        plain, size = time.process_time() - began, log.stat().st_size
    print(f"{lines:,} lines, {size / 1e6:.0f} MB; json.loads of them all: {plain:.2f} s of the processor")
    print(f"first answer, with {first:,} lines: {opened:.2f} s; all {answers} answers: {whole:.2f} s")
    print(f"a line more: {followed * 1000:.1f} ms and {len(body):,} bytes")
    found = {"machine": machine(1), "lines": lines, "bytes": size, "json_loads": plain, "first": opened, "all": whole}
    print(f"wrote {write_results('long_log', {**found, 'follow': followed, 'follow_bytes': len(body)})}")


if __name__ == "__main__":
    main()
