"""Options of single blocks (2501.00663 section 4)."""

from atlas_ref.config.section import Section


class MalConfig(Section):
    """The memory first, then attention over what it returns."""

    inner_residual: bool
    """whether memory and attention are two sublayers, each with a norm and a residual of its own"""
