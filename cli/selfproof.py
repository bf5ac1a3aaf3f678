"""`atlas selfproof`."""


def selfproof() -> None:
    """Show that the suite notices every seeded fault."""
    raise NotImplementedError
