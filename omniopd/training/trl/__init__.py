"""What TRL's trainers are made to do: whole checkpoints, own draws, exact means, resumable order."""
