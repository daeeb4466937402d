"""What `benchmarks/target_tokens.py` measures: labels and their price, gradients, angles."""
