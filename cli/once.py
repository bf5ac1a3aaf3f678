"""Commands that read every option they are given."""

from collections import Counter
from typing import Any

from typer.core import TyperCommand, TyperOption


class Once(TyperCommand):
    """A command that refuses an option which is given twice, where the first one would be ignored in silence."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Count the options of a command line, then read it."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option, times in Counter(given).items():
            if times > 1 and isinstance(option, TyperOption) and not option.multiple and _has_values(option):
                ctx.fail(f"{option.opts[0]} is given {times} times; give it once.")
        return super().parse_args(ctx, args)


def _has_values(option: TyperOption) -> bool:
    """Return whether the option can say two things; a switch that is only put on cannot."""
    return not option.is_flag or bool(option.secondary_opts)
