"""Tests of `cli.dashboard`."""
