"""A model behind an API as teacher: what is sent, what comes back, and who waits."""
