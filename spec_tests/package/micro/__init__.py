"""Models and runs small enough for a test, and the command line inside this process."""
