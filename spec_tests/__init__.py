"""The executable specification: properties of a port, tied to the sentences of docs/spec."""
