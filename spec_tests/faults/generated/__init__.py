"""Faults that nobody has to invent: made from the table of operations by wrapping a sound port."""
