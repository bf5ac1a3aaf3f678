"""The blocks by name: `model.block` decides which one the layers of a model are made of."""

from atlas_ref.blocks.block import Block
from atlas_ref.blocks.lmm import LmmBlock
from atlas_ref.blocks.mac import MacBlock
from atlas_ref.blocks.mag import MagBlock
from atlas_ref.blocks.mal import MalBlock
from atlas_ref.config.model import BlockKind, ModelConfig

BLOCKS: dict[BlockKind, type[Block]] = {"mag": MagBlock, "mac": MacBlock, "mal": MalBlock, "lmm": LmmBlock}


def build_block(config: ModelConfig) -> Block:
    """Return the block that a configuration names, with undrawn weights."""
    return BLOCKS[config.block](config)
