"""What the first steps promise of the rest of a run: its time and its memory, measured and said once."""

from statistics import median

import torch

from atlas_ref.watching.summary import peak_rss_mib
from atlas_ref.wording import counted

MEASURED = 3
"""Steps whose time is taken, after the first one of a process, which has more to do than the others."""
UNITS = ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


class FirstSteps:
    """The seconds that the first steps of a process take."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    def after(self, seconds: float, left: int, device: torch.device) -> str | None:
        """Return what to say after an update that took `seconds`, with `left` to come; None but for one of them.

        The time is the median step times the steps left. Memory is the most that this process has had so far, on the
        device where that has its own; validation and saving come on top.
        """
        self._seconds.append(seconds)
        if len(self._seconds) != 1 + MEASURED or left == 0:
            return None
        time = about(median(self._seconds[1:]) * left)
        return f"{time} for the {counted(left, 'step')} left, validation aside; {memory(device)}"


def about(seconds: float) -> str:
    """Return a time for people, with the two figures that an estimate has: `about 3.2 h`."""
    size, unit = next(((size, unit) for size, unit in UNITS if seconds >= 2 * size), UNITS[-1])
    return f"about {max(1.0, seconds / size):.{1 if seconds < 10 * size and size > 1 else 0}f} {unit}"


def memory(device: torch.device) -> str:
    """Return the most memory that was in use."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**20:,.0f} MiB of GPU memory"
    return f"{peak_rss_mib():,.0f} MiB of memory"
