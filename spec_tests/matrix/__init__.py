"""The matrix: every public implementation under the suite, chapter by chapter, and the page that shows it."""
