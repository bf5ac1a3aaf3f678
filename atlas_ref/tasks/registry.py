"""The tasks, each under the class of its configuration: `config.data` decides what is learned."""

from atlas_ref.config import DataConfig
from atlas_ref.tasks.language import LanguageModelling
from atlas_ref.tasks.task import Task

TASKS: dict[type[DataConfig], Task] = {DataConfig: LanguageModelling()}


def task_of(config: DataConfig) -> Task:
    """Return the task of a configuration."""
    return TASKS[type(config)]
