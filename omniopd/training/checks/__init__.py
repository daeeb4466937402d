"""What would go wrong in training, said before the first step."""
