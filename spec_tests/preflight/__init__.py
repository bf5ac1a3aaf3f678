"""Tests of the preflight gates: each passes healthy subjects and fails every broken one. They ask no port."""
