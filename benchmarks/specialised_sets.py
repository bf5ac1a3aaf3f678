"""The three specialisations of the family cognate trained on public sets, where these lie there, and on made-up ones.

    python -m benchmarks.specialised_sets [--data DIR] [--seeds 0 1 2] [--seconds 400] [--examples 60] [--device cuda]

Files of gsm8k and svamp are taken from `--data`; of all other sets rows are made up in their schema, four in ten with
the answer of a word that is drawn, so that nobody can be sure (`benchmarks.made_up_sets`), and the articles of wikitext
are stretches of the shipped text. All of them are trained side by side through the command line, for the same time, and
compared on the same validation rows: over rows, and over seeds where there are several. At last
`atlas eval --suite cognate` asks those of the first seed. Each part prints what it found when it has found it.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from atlas_ref.config.specialisations import SPECIALISATIONS
from atlas_ref.errors import UserError
from atlas_ref.models.family import Model
from atlas_ref.training.comparison import Table, behaviours, over_seeds, table_of
from atlas_ref.training.run import open_data
from benchmarks.made_up_sets import write
from benchmarks.report import RESULTS, machine, write_results
from benchmarks.specialisations import kept, show
from cli.checkpoints import open_model

PLACE = RESULTS / "specialised-sets"
COUNT, DOUBT, ARTICLE = 600, 0.4, 900
"""Rows of a set that is made up, the share of them with a drawn answer, and letters of an article."""
FIELDS = (
    "data.source='sets'",
    "data.tokenizer='bytes'",
    "data.sequence_length=128",
    "data.context_batches=1",
    "data.validation_fraction=0.1",
    "model.vocab_size=257",
    "model.window=128",
    "model.halting.loss_weight=0.5",
    "optim.name='adamw'",
    "optim.schedule='constant'",
    "optim.average=0.99",
    "train.batch_size=32",
    "train.micro_batches=1",
    "train.max_steps=1000000",
    "train.eval_interval=100",
    "train.eval_batches=16",
    "train.save_interval=1000000",
)
"""What the runs have in common, beside the fields of their presets."""


def folder(data: Path | None) -> Path:
    """Write the sets and return where they lie."""
    place = write(PLACE / "sets", COUNT, doubt=DOUBT)
    text = files("atlas_ref.data").joinpath("shakespeare.txt").read_text(encoding="utf-8")
    articles = (text[at : at + ARTICLE] for at in range(0, len(text), ARTICLE))
    lines = (line for number, article in enumerate(articles, 1) for line in (f" = Part {number} = \n", article))
    (place / "wikitext.jsonl").unlink()
    (place / "wikitext").mkdir()
    (place / "wikitext" / "train.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    found = sorted(data.glob("gsm8k*.json*")) + sorted(data.glob("svamp*.json*")) if data else []
    for file in found:
        for made_up in place.glob(f"{file.name[:5]}*"):
            made_up.unlink()
        shutil.copy(file, place)
    return place


def train(place: Path, seeds: Sequence[int], options: argparse.Namespace) -> dict[int, dict[str, Path]]:
    """Train all of them side by side for so many seconds, and return the run directory of each."""
    runs = {seed: {name: PLACE / f"{name}-{seed}" for name in SPECIALISATIONS} for seed in seeds}
    given = (*FIELDS, f"data.path='{place}'", f"train.device='{options.device}'", *options.fields)
    fields = {field.partition("=")[0]: field for field in given}
    changes = [part for field in fields.values() for part in ("--set", field)]
    started = []
    for seed, of_seed in runs.items():
        for name, run in of_seed.items():
            command = [sys.executable, "-m", "cli.main", "train", "--config", name, *changes, "--seed", f"{seed}"]
            with Path(f"{run}.txt").open("w") as told:
                more = ["--out", f"{run}", "--skip-preflight", "a comparison of runs that were cut off"]
                started.append(subprocess.Popen([*command, *more], stdout=told, stderr=subprocess.STDOUT))
    end = time.monotonic() + options.seconds
    while time.monotonic() < end and any(process.poll() is None for process in started):
        time.sleep(1.0)
    for process in started:
        process.send_signal(signal.SIGINT)
    for process in started:
        process.wait()
    return runs


def judge(runs: Mapping[str, Path]) -> Table:
    """Return the table of the three over the validation rows of the first."""
    opened = {name: open_model(run, []) for name, run in runs.items()}
    first = next(iter(opened.values()))
    models: dict[str, Model] = {name: one.model for name, one in opened.items()}
    steps = ", ".join(f"{name} {one.checkpoint.step:,}" for name, one in opened.items())
    print(f"steps: {steps}", flush=True)
    return table_of(behaviours(models, open_data(first.run, first.checkpoint), first.config.train.eval_batches))


def ask(runs: Mapping[str, Path], examples: int) -> None:
    """Ask the sets, the three at a time; what they say goes into a file for each, and is printed."""
    for split in ("validation", "test"):
        asked = []
        for name, run in runs.items():
            command = (sys.executable, "-m", "cli.main", "eval", f"{run}", "--suite", "cognate", "--split", split)
            more = ("--examples", f"{examples}", "--out", f"{run}/suite-{split}")
            asked.append((name, subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)))
        for name, process in asked:
            said, _ = process.communicate()
            print(f"{name}, {split}\n{said.decode()}", flush=True)


def main() -> None:
    """Train, compare, ask."""
    parser = argparse.ArgumentParser(description="Train the three specialisations on public and made-up sets.")
    parser.add_argument("--data", type=Path, help="folder with files of gsm8k and svamp")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="seeds of weights and draws")
    parser.add_argument("--seconds", type=float, default=400.0, help="seconds that all train, side by side")
    parser.add_argument("--examples", type=int, default=60, help="examples of a set that are asked")
    parser.add_argument("--device", default="cuda", help="cpu or cuda")
    parser.add_argument("--set", dest="fields", action="append", default=[], help="a field of the configuration")
    options = parser.parse_args()
    shutil.rmtree(PLACE, ignore_errors=True)
    runs = train(folder(options.data), options.seeds, options)
    tables: dict[int, Table] = {}
    for seed, of_seed in runs.items():
        try:
            tables[seed] = judge(of_seed)
        except UserError as error:
            # A run that ended before it saved anything costs its seed alone.
            print(f"seed {seed}: {error}", flush=True)
            continue
        show(f"seed {seed}, over rows", tables[seed])
    if len(tables) > 1:
        show(f"over {len(tables)} seeds", over_seeds([*tables.values()]))
    print(f"wrote {write_results('specialised_sets', {'machine': machine(1), 'tables': kept(tables)})}", flush=True)
    ask(next(iter(runs.values())), options.examples)


if __name__ == "__main__":
    main()
