"""The one error that a user of the command line is meant to read."""


class UserError(ValueError):
    """Bad input: one sentence that says what is wrong, where, and what would be valid."""
