"""The run configuration: one strict, frozen tree, with no default anywhere.

A run is described by a TOML file that holds every field (`presets`). A missing, unknown, mistyped, NaN or out-of-range
field is refused with its dotted name, its file and what would be valid (`errors`); each section has a file of its own,
and `run` joins them. The only leniency: an integer is taken where a number is expected.

A field that the rest of its section switches off (for instance `feed_forward_dim` with `feed_forward = "none"`) must
still be present and in range; it then has no effect.
"""

from atlas_ref.config.axes import BiasConfig, LinkConfig
from atlas_ref.config.data import AnswersConfig, DataConfig, RecallConfig
from atlas_ref.config.gates import GatesConfig
from atlas_ref.config.loading import config_hash, load_config, model_names, parse_config, preset_names, to_toml
from atlas_ref.config.memory import FeaturesConfig, MemoryConfig, NewtonSchulzConfig, QKProjectionConfig, ShardsConfig
from atlas_ref.config.model import AttentionConfig, GateConfig, ModelConfig
from atlas_ref.config.optim import OptimConfig
from atlas_ref.config.run import RunConfig
from atlas_ref.config.section import Section
from atlas_ref.config.switches import KillSwitchesConfig
from atlas_ref.config.train import TrainConfig

__all__ = [
    "AnswersConfig",
    "AttentionConfig",
    "BiasConfig",
    "DataConfig",
    "FeaturesConfig",
    "GateConfig",
    "GatesConfig",
    "KillSwitchesConfig",
    "LinkConfig",
    "MemoryConfig",
    "ModelConfig",
    "NewtonSchulzConfig",
    "OptimConfig",
    "QKProjectionConfig",
    "RecallConfig",
    "RunConfig",
    "Section",
    "ShardsConfig",
    "TrainConfig",
    "config_hash",
    "load_config",
    "model_names",
    "parse_config",
    "preset_names",
    "to_toml",
]
