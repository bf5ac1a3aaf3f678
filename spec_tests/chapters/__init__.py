"""One room a concept; `spec_tests.discovery` says what a room may hold, and finds it.

A folder that is added to `__path__` adds its chapters.
"""
