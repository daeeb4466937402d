"""Learning: the trainer, its baselines, its checkpoints."""
