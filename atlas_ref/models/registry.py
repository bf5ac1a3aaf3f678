"""The families of models, each under the class of its configuration: `config.any_model` decides what is built."""

from atlas_ref.config.cognate import CognateConfig
from atlas_ref.config.model import ModelConfig
from atlas_ref.config.perceptron import PerceptronConfig
from atlas_ref.config.run import AnyModelConfig
from atlas_ref.config.transformer import TransformerConfig
from atlas_ref.models import cognate_tensors, perceptron, perceptron_tensors, transformer, transformer_tensors
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.models.cognate import CognateModel
from atlas_ref.models.cognate_measures import gather_call, measure_call, read_call
from atlas_ref.models.family import Family, Model
from atlas_ref.models.flops import training_flops
from atlas_ref.models.measures import gather, measure_layers, read
from atlas_ref.models.tensors import count_parameters, tensors

FAMILIES: dict[type[AnyModelConfig], Family] = {
    ModelConfig: Family(
        "atlas", AtlasModel, tensors, count_parameters, training_flops, measure_layers, gather=gather, read=read
    ),
    CognateConfig: Family(
        "cognate",
        CognateModel,
        cognate_tensors.tensors,
        cognate_tensors.count_parameters,
        cognate_tensors.training_flops,
        measure_call,
        gather=gather_call,
        read=read_call,
    ),
    PerceptronConfig: Family(
        "perceptron",
        perceptron.PerceptronModel,
        perceptron_tensors.tensors,
        perceptron_tensors.count_parameters,
        perceptron_tensors.training_flops,
        perceptron.measure_call,
        perceptron.numbers,
    ),
    TransformerConfig: Family(
        "transformer",
        transformer.TransformerModel,
        transformer_tensors.tensors,
        transformer_tensors.count_parameters,
        transformer_tensors.training_flops,
        transformer.measure_call,
    ),
}


def family_of(config: AnyModelConfig) -> Family:
    """Return the family of a configuration."""
    return FAMILIES[type(config)]


def build_model(config: AnyModelConfig, seed: int) -> Model:
    """Return the model of a configuration, with the parameters of a seed."""
    return family_of(config).build(config, seed)
