"""Steps of the memory that are normalised by mass (docs/spec/rules.md)."""
