"""What is told of a memory and of a gate."""
