"""How a port is asked and what its answers must look like; `spec_tests.port` is the face of it."""
