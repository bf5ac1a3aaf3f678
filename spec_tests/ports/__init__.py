"""Ports that the suite can be aimed at."""
