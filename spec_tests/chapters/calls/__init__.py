"""What holds for every call of every operation (docs/spec/calls.md)."""
