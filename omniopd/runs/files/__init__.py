"""What a run's folder holds and who holds it: whole writes, whole lines, names, claims."""
