"""Is a teacher fit for a run? Tried out before a run is paid for."""
