"""What learns in the second stage of training: everything, or of a hierarchy what its local memories have of their own.

TNT (arXiv 2511.07343) trains first in long chunks, which is fast, and then for a few steps in the short ones that the
model is served in. The definition of `local` is ours: W_init and the gates of the local memories, step biases included.
"""

from torch import nn

from atlas_ref.blocks.hierarchical_layer import HierarchicalLayer
from atlas_ref.config import RunConfig


def freeze(model: nn.Module, config: RunConfig, update: int) -> None:
    """Take the gradient from what does not learn in update number `update` (0-based)."""
    if not config.stage2.steps or update < config.train.max_steps or config.stage2.trainable == "all":
        return
    layers = [module for module in model.modules() if isinstance(module, HierarchicalLayer)]
    local = {parameter for layer in layers for parameter in layer.local_parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(parameter in local)
