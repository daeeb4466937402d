"""Where prompts come from: each task makes prompts and grades what a model answers to them."""
