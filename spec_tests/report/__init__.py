"""From the outcomes of a run to JSON, JUnit, one HTML page and a badge."""
