"""Language models over the blocks."""
