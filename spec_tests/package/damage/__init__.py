"""What goes wrong on purpose: deaths, failing calls, hostile files and mutated checkpoints."""
