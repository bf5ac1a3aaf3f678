"""One step of MuGrokfast: the order of what it is made of (docs/spec/mugrokfast.md)."""
