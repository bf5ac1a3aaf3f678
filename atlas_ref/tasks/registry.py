"""The tasks, each under the source of data that it learns from: `data.source` decides what is learned."""

from atlas_ref.config import DataConfig
from atlas_ref.tasks.answers import Answering
from atlas_ref.tasks.arithmetic import ARITHMETIC
from atlas_ref.tasks.episodes import EpisodicTask
from atlas_ref.tasks.language import LanguageModelling
from atlas_ref.tasks.puzzles import PUZZLES
from atlas_ref.tasks.task import Task

TASKS: dict[str, Task] = {
    "shakespeare": LanguageModelling(),
    "path": LanguageModelling(),
    "recall": LanguageModelling(),
    "answers": Answering(),
    "sets": Answering(),
    "relay": PUZZLES["softmax"],
    "sudoku": PUZZLES["softmax"],
    "arithmetic": ARITHMETIC["softmax"],
    "episodes": EpisodicTask(),
}


def task_of(config: DataConfig) -> Task:
    """Return the task of a configuration."""
    if config.source == "arithmetic":
        return ARITHMETIC[config.arithmetic.probabilities]
    if config.source in ("relay", "sudoku"):
        return PUZZLES[(config.relay if config.source == "relay" else config.sudoku).probabilities]
    return TASKS[config.source]
