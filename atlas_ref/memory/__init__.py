"""The test-time memory: its state, its rules, the recurrent oracle and the chunked parallel form."""
