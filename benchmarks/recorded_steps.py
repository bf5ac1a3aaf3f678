"""Training steps on a GPU as they are, and recorded and replayed: time, and how far the two runs part.

    python -m benchmarks.recorded_steps --preset shakespeare-10m --profile 20

Both begin with the same weights and read the same batches. A second plain run tells how far two runs part by
themselves: sums of gradients are added in another order from run to run. A step is timed with what is measured of every
layer after it, without validation, saving and the log.
"""

import argparse
import gc
import time
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from atlas_ref.config import RunConfig, load_config
from atlas_ref.data.batch import Batch
from atlas_ref.training.arithmetic import in_tf32
from atlas_ref.training.graphed import Recordings
from atlas_ref.training.run import new_run, open_data
from atlas_ref.training.step import to_device, train_step
from atlas_ref.watching.monitor import measure_layers
from benchmarks.step_parts import show_kernels

SETTLED = 8
"""Steps before the timed ones: kernels are compiled in them, and a step recorded."""
GPU = torch.device("cuda")


class Curve(NamedTuple):
    """Losses and seconds of every step, and the recordings of a run that has them."""

    losses: list[float]
    seconds: list[float]
    recordings: Recordings | None

    @property
    def usual(self) -> float:
        """The median of the seconds of a step."""
        times = sorted(self.seconds[SETTLED:])
        return times[len(times) // 2]


def trained(config: RunConfig, batches: list[Batch], *, recorded: bool) -> Curve:
    """Train on some batches."""
    run = new_run(config, GPU)
    recordings = Recordings(run.model, run.network, run.optimiser, run.state, config) if recorded else None
    curve = Curve([], [], recordings)
    for step, batch in enumerate(batches):
        began = time.perf_counter()
        if recordings is not None:
            recordings.expect(batch)
        given = (run.network, run.optimiser, to_device(batch, GPU), run.state, step, config)
        result = train_step(*given, replays=recordings)
        run.state = result.output.state
        measure_layers(result.output, config.any_model, result.sheet)
        curve.seconds.append(time.perf_counter() - began)
        curve.losses.append(result.loss)
    return curve


def apart(one: Curve, other: Curve) -> float:
    """Return the largest relative difference of two losses of one step."""
    return max(abs(a / b - 1.0) for a, b in zip(one.losses, other.losses, strict=False))


def show_replay(recordings: Recordings, most: int) -> None:
    """Print how long a replay takes by itself, and what it spends its time on."""
    replay = next(found for found in reversed(recordings.made.values()) if found is not None).replay
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(10):
        replay()
    torch.cuda.synchronize()
    print(f"a replay by itself: {(time.perf_counter() - began) * 100:.2f} ms")
    with profile(activities=[ProfilerActivity.CUDA]) as done:
        replay()
        torch.cuda.synchronize()
    show_kernels(list(done.events() or ()), most)


def main() -> None:
    """Print what both ways cost."""
    parser = argparse.ArgumentParser(description="Time training steps that are recorded and replayed.")
    parser.add_argument("--preset", default="shakespeare-10m")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--set", dest="fields", action="append", default=[], help="a field of the configuration")
    parser.add_argument("--profile", type=int, default=0, metavar="KERNELS", help="Show the costliest kernels.")
    arguments = parser.parse_args()
    if arguments.steps <= SETTLED:
        parser.error(f"--steps must be more than {SETTLED}: the first {SETTLED} settle the run and are not timed.")
    config = load_config(arguments.preset, arguments.fields)
    with in_tf32(config.asks_for_tf32):
        compare(config, arguments)


def compare(config: RunConfig, arguments: argparse.Namespace) -> None:
    """Train both ways, and print what each costs."""
    source = open_data(config, None)
    # As in training, where a GPU fetches them by itself.
    batches = [source.batch(step).map(torch.Tensor.pin_memory) for step in range(2 * arguments.steps)]
    few = batches[: arguments.steps]
    plain, again = trained(config, few, recorded=False), trained(config, few, recorded=False)
    gc.collect()
    torch.cuda.empty_cache()
    recorded = trained(config, batches, recorded=True)
    assert recorded.recordings is not None
    tokens = batches[0].tokens.numel()
    print(f"`{arguments.preset}` on {torch.cuda.get_device_name()}, torch {torch.__version__}")
    for name, curve in (("plain", plain), ("recorded", recorded)):
        print(f"{name}: {curve.usual * 1e3:.2f} ms a step, {tokens / curve.usual / 1e3:.0f} k tokens/s")
    print(f"{recorded.recordings.replayed} of {len(batches)} steps replayed; peak {peak():.2f} GiB")
    between = f"{apart(plain, recorded):.1e}, of two plain runs by {apart(plain, again):.1e}"
    print(f"losses of {len(few)} steps part by {between}", flush=True)
    if why := recorded.recordings.refused or ("" if recorded.recordings.replayed else recorded.recordings.unlike):
        print(f"not recorded: {why}")
    elif arguments.profile:
        show_replay(recorded.recordings, arguments.profile)


def peak() -> float:
    """Return the most memory that tensors took, in GiB."""
    return torch.cuda.max_memory_allocated() / 2**30


if __name__ == "__main__":
    main()
