"""Steps of the memory that are normalised by mass (docs/spec/memory_mass.md)."""
