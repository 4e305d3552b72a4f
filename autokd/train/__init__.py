"""One run: a student, those who teach it, and what its answers are worth. Knows no study."""
