"""What several views share: their base, safe markup, workers, readers of runs, static pictures."""
