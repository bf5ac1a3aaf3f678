"""Processes that begin with everything imported: forked from one that has done it, for tests that start many."""
