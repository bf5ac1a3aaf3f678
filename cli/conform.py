"""`atlas conform`."""


def conform() -> None:
    """Run the conformance suite on a port and report."""
    raise NotImplementedError
