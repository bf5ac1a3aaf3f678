"""What stands beside the log of a run, as rows of plain values: kills, gates, samples, starts and facts.

Each file is read for itself, and one that is missing, damaged, half written or of another version costs a sentence and
nothing else.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from atlas_ref.errors import UserError
from atlas_ref.reading import opened, parse_json, read_json
from atlas_ref.watching.kill_switches import Kill
from atlas_ref.wording import visible
from cli.gate_report import headline
from cli.run_records import CERTIFICATE, CONFIG, ENVIRONMENT, KILL, SUMMARY, flattened, memory_words, read_config
from preflight.result import GateResult

SAMPLES = "samples.jsonl"
FILES = (CONFIG, KILL, CERTIFICATE, ENVIRONMENT, SUMMARY, SAMPLES)
MOST_SAMPLES, MOST_TAIL = 30, 2**18
"""Samples that are shown, and bytes at the end of their file that are looked at."""
BROKEN = (UserError, OSError, KeyError, IndexError, TypeError, ValueError, AttributeError)
"""What reading a file that is not of this version may raise; a ValidationError is a ValueError."""

Row = dict[str, Any]


def version(run: Path) -> str:
    """Return a text that changes whenever one of the files does."""
    marks = []
    for name in FILES:
        with suppress(OSError):
            found = (run / name).stat()
            marks.append(f"{name[0]}{found.st_mtime_ns:x}.{found.st_size:x}")
    return "-".join(marks)


def reports(run: Path) -> Row:
    """Return all of them, with `notes` on what cannot be read."""
    notes: list[str] = []
    return {
        "facts": _whole(facts, run, CONFIG, notes, []),
        "kill": _whole(kills, run, KILL, notes, None),
        "gates": _whole(gates, run, CERTIFICATE, notes, []),
        "skipped": _whole(skipped, run, ENVIRONMENT, notes, None),
        "starts": _whole(starts, run, ENVIRONMENT, notes, []),
        "samples": _whole(samples, run, SAMPLES, notes, []),
        "notes": list(dict.fromkeys(notes)),
    }


def _whole(read: Callable[[Path], Any], run: Path, name: str, notes: list[str], otherwise: Any) -> Any:
    """Return what is read of a file, and `otherwise` where it is not there or, with a note, cannot be read."""
    if not (run / name).exists():
        return otherwise
    try:
        return read(run)
    except BROKEN as error:
        said = str(error) if isinstance(error, UserError) else f"{name}: is not of this version"
        notes.append(visible(said.removeprefix(f"{run}/").splitlines()[0]))
        return otherwise


def facts(run: Path) -> list[tuple[str, str]]:
    """Return what tells runs apart, name by name."""
    config = read_config(run / CONFIG)
    flat = flattened(config)
    length = flat["data.sequence_length"]
    found = [
        ("memory", memory_words(config["model"])),
        ("layers", f"{flat['model.n_layers']} of width {flat['model.d_model']:,}" if "model.n_layers" in flat else ""),
        ("batch", f"{flat['train.batch_size']:,} rows of {length:,} tokens"),
        ("data", str(flat["data.source"])),
        ("optimiser", str(flat["optim.name"])),
        ("seed", str(flat["train.seed"])),
    ]
    if (run / SUMMARY).exists():
        with suppress(*BROKEN):
            found.insert(0, ("parameters", f"{read_json(run / SUMMARY)['parameters']:,}"))
    return [(name, visible(text)) for name, text in found if text]


def kills(run: Path) -> Row:
    """Return why the run was stopped, and from where it can go on."""
    found = read_json(run / KILL)
    return {
        "step": int(found["step"]),
        "kills": [_kill(each, int(found["step"])) for each in found["kills"]],
        "checkpoint": found.get("last_good_checkpoint"),
    }


def _kill(found: Row, step: int) -> Row:
    try:
        kill = Kill.model_validate(found)
    except ValueError:
        return {"switch": visible(str(found["switch"])), "sentence": f"at step {step}", "cause": ""}
    return {"switch": kill.switch, "sentence": visible(kill.sentence()), "cause": visible(kill.cause)}


def gates(run: Path) -> list[Row]:
    """Return what each gate of preflight found, in few words and check by check."""
    results = [GateResult.model_validate(each) for each in read_json(run / CERTIFICATE)["gates"]]
    return [
        {
            "gate": result.gate,
            "verdict": str(result.verdict),
            "headline": visible(headline(result)),
            "seconds": round(result.seconds, 1),
            "checks": [
                {
                    "name": visible(check.name),
                    "verdict": str(check.verdict),
                    "numbers": f"{check.statistic:.4g}, {check.side} {check.threshold:.4g}",
                }
                for check in result.checks
            ],
        }
        for result in results
    ]


def starts(run: Path) -> list[Row]:
    """Return when the run was begun and gone on with."""
    return [
        {
            "step": int(each["first_step"]),
            "command": visible(" ".join(map(str, ["atlas", *each.get("command", [])[1:]]))),
            "torch": visible(str(each.get("torch", ""))),
        }
        for each in read_json(run / ENVIRONMENT)
    ]


def skipped(run: Path) -> str | None:
    """Return the reason for which the last start had no preflight, None where it had one."""
    entries = read_json(run / ENVIRONMENT)
    reason = entries[-1].get("preflight_skipped") if entries else None
    return None if reason is None else visible(str(reason))


def samples(run: Path) -> list[Row]:
    """Return the last texts that the model wrote, the newest first; a line that is being written is left out."""
    with opened(run / SAMPLES) as stream:
        stream.seek(0, 2)
        size = stream.tell()
        stream.seek(max(0, size - MOST_TAIL))
        lines = stream.read(MOST_TAIL).split(b"\n")
    whole = lines[1 if size > MOST_TAIL else 0 : -1]
    found = (parse_json(line) for line in whole[-MOST_SAMPLES:])
    shown = [
        {
            "step": int(each["step"]),
            "prompt": visible(str(each["prompt"]), lines=True),
            "text": visible(str(each["text"]), lines=True),
            "ended": bool(each["ended"]),
        }
        for each in found
    ]
    return shown[::-1]
