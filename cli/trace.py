"""`atlas trace`."""


def trace() -> None:
    """Check that every sentence has a test and a fault."""
    raise NotImplementedError
