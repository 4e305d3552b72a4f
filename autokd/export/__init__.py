"""What leaves a study: the bundle that is handed on, its use, and the proof of its recipe."""
