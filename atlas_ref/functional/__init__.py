"""Pure tensor functions: one concept a file, no state, no modules."""
