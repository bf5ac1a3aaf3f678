"""Broken subjects: what each gate must fail. One family a file, each with a table of `Control`."""
