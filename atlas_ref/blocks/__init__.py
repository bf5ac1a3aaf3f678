"""Wiring of the mathematics into network blocks."""
