"""The command line: one module a command; torch is imported inside commands only."""
