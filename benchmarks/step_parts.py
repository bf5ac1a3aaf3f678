"""Where the time and the memory of a training step go: by part of the step, by kernel, by line that holds memory.

    python -m benchmarks.step_parts --preset shakespeare-10m --set train.batch_size=8 --kernels 20 --memory 20

Times are those of the GPU, or on a CPU of its operations. What runs in the backward pass counts to the part whose
forward operation it is the derivative of; what is idle is the time between the first kernel and the last in which none
ran. A step is made as it is, without a recording: with one the launches are gone and the kernels stay. The parts are
written too, for `python -m benchmarks.step_figure`.
"""

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from atlas_ref.config import RunConfig, load_config
from atlas_ref.training import step as steps
from atlas_ref.training.arithmetic import in_tf32
from atlas_ref.training.run import Run, new_run, open_data
from atlas_ref.watching.monitor import measure_layers
from benchmarks.report import write_results

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
PART = "part: "
FUNCTIONS = (
    ("atlas_ref.training.step", "learn"),
    ("atlas_ref.training.step", "drop_zero_gradients"),
    ("atlas_ref.training.step", "norm_of_gradients"),
    ("atlas_ref.training.step", "scale_gradients"),
    ("atlas_ref.blocks.block", "summarise"),
    ("atlas_ref.blocks.attention", "latest"),
    ("atlas_ref.blocks.attention", "sliding_window_attention"),
    ("atlas_ref.blocks.mag", "normed"),
    ("atlas_ref.blocks.mag", "added"),
    ("atlas_ref.blocks.feed_forward", "normed"),
    ("atlas_ref.blocks.feed_forward", "swiglu"),
    ("atlas_ref.blocks.feed_forward", "added"),
    ("atlas_ref.models.atlas", "left"),
    ("atlas_ref.models.atlas", "normed"),
    ("atlas_ref.blocks.timeline", "turned"),
)
"""Parts that are no module: where they are called, and by which name."""


def marked(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that says in a profile that it is a part."""

    def with_mark(*arguments: Any, **options: Any) -> Any:
        with record_function(PART + name):
            return call(*arguments, **options)

    return with_mark


@contextmanager
def parts_marked(run: Run) -> Iterator[None]:
    """Mark every module of a model by its class, and the parts that are none."""
    with ExitStack() as held:
        for name, module in run.model.named_modules():
            if isinstance(module, nn.ModuleList):
                continue
            kind = type(module).__name__
            if kind in {"Linear", "RMSNorm", "LayerNorm", "Embedding"}:
                kind = f"{kind} {'.'.join(x for x in name.split('.')[-3:] if not x.isdigit())}"
            held.enter_context(patch.object(module, "forward", marked(kind, module.forward)))
        for place, name in FUNCTIONS:
            target = import_module(place)
            held.enter_context(patch.object(target, name, marked(name, getattr(target, name))))
        yield


def part_of(event: Any, by_sequence: dict[int, str]) -> str:
    """Return the innermost part that an operation belongs to, in the backward pass by the number of its forward one."""
    while event is not None:
        if event.name.startswith(PART):
            return str(event.name.removeprefix(PART))
        if event.name.startswith("autograd::engine::evaluate_function") and event.sequence_nr in by_sequence:
            return f"{by_sequence[event.sequence_nr]}, back"
        event = event.cpu_parent
    return "other"


def show_parts(events: Sequence[Any]) -> Mapping[str, float]:
    """Print the time of every part, with its costliest kernels, and return the milliseconds of each."""
    host = [event for event in events if str(event.device_type).endswith("CPU")]
    by_sequence: dict[int, str] = {}
    for event in host:
        if event.sequence_nr >= 0 and not event.name.startswith("autograd::engine"):
            found = part_of(event, {})
            if found != "other":
                by_sequence.setdefault(event.sequence_nr, found)
    spent: Counter[str] = Counter()
    launched: Counter[str] = Counter()
    inside: dict[str, Counter[str]] = defaultdict(Counter)
    for event in host:
        own = sum(kernel.duration for kernel in event.kernels) if GPU else event.self_cpu_time_total
        if own or event.kernels:
            part = part_of(event, by_sequence)
            spent[part] += own / 1e3
            launched[part] += len(event.kernels)
            for kernel in event.kernels:
                inside[part][kernel.name[:60]] += kernel.duration / 1e3
    print(f"by part, {sum(spent.values()):.1f} ms in all, {sum(launched.values())} launches")
    for part, took in spent.most_common(60):
        detail = "; ".join(f"{x:.2f} {name}" for name, x in inside[part].most_common(4))
        print(f"  {took:8.2f} ms {launched[part]:5d} x {part:50s} {detail}")
    return spent


def show_kernels(events: Sequence[Any], most: int) -> None:
    """Print how long a GPU was busy and idle, and its costliest kernels."""
    number, busy, stretches = Counter[str](), Counter[str](), []
    for event in events:
        if str(event.device_type).endswith("CUDA") and not event.name.startswith(PART):
            number[event.name] += 1
            busy[event.name] += event.device_time / 1e3
            stretches.append((event.time_range.start, event.time_range.end))
    stretches.sort()
    idle, end = 0.0, stretches[0][0]
    for start, stop in stretches:
        idle, end = idle + max(0.0, start - end), max(end, stop)
    whole = (end - stretches[0][0]) / 1e3
    print(f"{sum(number.values())} kernels, {sum(busy.values()):.1f} ms busy, {idle / 1e3:.1f} ms idle of {whole:.1f}")
    for name, took in busy.most_common(most):
        print(f"  {took:8.3f} ms {number[name]:5d} x {name[:130]}")


def show_memory(step: Callable[[], None], most: int) -> None:
    """Print which lines of this repository hold the memory of a step at its peak."""
    before = torch.cuda.memory_allocated()
    torch.cuda.memory._record_memory_history(max_entries=2_000_000, stacks="python")
    step()
    torch.cuda.synchronize()
    trace = torch.cuda.memory._snapshot()["device_traces"][0]
    torch.cuda.memory._record_memory_history(enabled=None)
    held, most_held, until = 0, 0, 0
    sizes: dict[int, int] = {}
    for number, entry in enumerate(trace):
        if entry["action"] == "alloc":
            sizes[entry["addr"]] = entry["size"]
            held += entry["size"]
            if held > most_held:
                most_held, until = held, number
        elif entry["action"] == "free_completed":
            held -= sizes.pop(entry["addr"], 0)
    live: dict[int, Any] = {}
    for entry in trace[: until + 1]:
        if entry["action"] == "alloc":
            live[entry["addr"]] = entry
        elif entry["action"] == "free_completed":
            live.pop(entry["addr"], None)
    lines, count = Counter[str](), Counter[str]()
    for entry in live.values():
        ours = [x for x in entry.get("frames", []) if "atlas_ref" in x["filename"]]
        names = [f"{x['filename'].rpartition('atlas_ref/')[2]}:{x['line']} {x['name']}" for x in ours[:2]]
        name = " < ".join(names) or "elsewhere (backward pass)"
        lines[name] += entry["size"]
        count[name] += 1
    print(f"peak {(before + most_held) / 2**30:.2f} GiB, of which {before / 2**30:.2f} before the step")
    for name, size in lines.most_common(most):
        print(f"  {size / 2**20:9.1f} MiB {count[name]:5d} x {name}")


def main() -> None:
    """Read what is asked for, and print it."""
    parser = argparse.ArgumentParser(description="Where the time and the memory of a training step go.")
    parser.add_argument("--preset", default="shakespeare-10m")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the preset")
    parser.add_argument("--warm", type=int, default=4, help="steps before those that are looked at")
    parser.add_argument("--kernels", type=int, default=25, help="how many of the costliest kernels to print")
    parser.add_argument("--memory", type=int, default=0, metavar="LINES", help="how many holders of memory to print")
    arguments = parser.parse_args()
    config = load_config(arguments.preset, arguments.set)
    with in_tf32(GPU and config.asks_for_tf32):
        show(config, arguments)


def show(config: RunConfig, arguments: argparse.Namespace) -> None:
    """Time some steps, and print what was asked for."""
    run, source = new_run(config, DEVICE), open_data(config, None)

    def step() -> None:
        batch = steps.to_device(source.batch(run.step), DEVICE)
        result = steps.train_step(run.network, run.optimiser, batch, run.state, run.step, config)
        run.state, run.step = result.output.state, run.step + 1
        with record_function(PART + "measure_layers"):
            measure_layers(result.output, config.any_model, result.sheet)

    for _ in range(arguments.warm):
        step()
    if GPU:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    for _ in range(3):
        step()
    if GPU:
        torch.cuda.synchronize()
    took = (time.perf_counter() - began) / 3
    tokens = source.batch(0).tokens.numel()
    name = torch.cuda.get_device_name() if GPU else "CPU"
    peak = torch.cuda.max_memory_allocated() / 2**30 if GPU else 0.0
    print(f"`{arguments.preset}` {arguments.set} on {name}, torch {torch.__version__}")
    print(f"{took * 1e3:.1f} ms a step, {tokens / took / 1e3:.1f} k tokens/s, peak {peak:.2f} GiB", flush=True)
    with parts_marked(run), patch.object(type(run.optimiser), "move", marked("optimiser", type(run.optimiser).move)):
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if GPU else [])]
        with profile(activities=activities) as done:
            step()
            if GPU:
                torch.cuda.synchronize()
    events = list(done.events() or ())
    found = {"preset": arguments.preset, "fields": arguments.set, "card": name, "milliseconds": show_parts(events)}
    print(f"wrote {write_results('step_parts', found)}")
    if GPU:
        show_kernels(events, arguments.kernels)
    if arguments.memory and GPU:
        show_memory(step, arguments.memory)


if __name__ == "__main__":
    main()
