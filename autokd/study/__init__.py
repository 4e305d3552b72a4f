"""A study's decisions: what runs next, what goes on, what is confirmed. No Ray, no torch."""
