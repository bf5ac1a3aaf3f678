"""The one error that a user of the command line is meant to read."""


class UserError(ValueError):
    """Bad input: one sentence that says what is wrong, where, and what would be valid."""


REFERENCE = ("torch", "jaxtyping")
"""What the extra `reference` of this package installs: judging other implementations needs neither."""


def without_reference(error: ImportError) -> str | None:
    """Return the sentence for an import that fails because the reference is not installed, None for any other."""
    if error.name is None or error.name.partition(".")[0] not in REFERENCE:
        return None
    return (
        f"the reference implementation needs {error.name}, which is not installed; install this package with its extra "
        "`reference` (in a checkout: pip install '.[reference]')"
    )
