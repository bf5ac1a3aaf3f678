"""Adapters of public implementations, a file each; `implementations.toml` is their list (`spec_tests.matrix`).

An adapter replaces projections, the package's own weights that turn a token into keys, values, queries and gates, and
no mathematics. What is named otherwise in a package is re-parametrised by a line of algebra, which the adapter's
docstring says. Adapters import their package when they are made: it is in an environment of its own.
"""
