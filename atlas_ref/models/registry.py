"""The families of models, each under the class of its configuration: `config.model` decides what is built."""

from atlas_ref.config.model import ModelConfig
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.models.family import Family, Model
from atlas_ref.models.flops import training_flops
from atlas_ref.models.measures import measure_layers
from atlas_ref.models.tensors import count_parameters, tensors

FAMILIES: dict[type[ModelConfig], Family] = {
    ModelConfig: Family("atlas", AtlasModel, tensors, count_parameters, training_flops, measure_layers),
}


def family_of(config: ModelConfig) -> Family:
    """Return the family of a configuration."""
    return FAMILIES[type(config)]


def build_model(config: ModelConfig, seed: int) -> Model:
    """Return the model of a configuration, with the parameters of a seed."""
    return family_of(config).build(config, seed)
