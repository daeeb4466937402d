"""The paper's equations: tensors and strings in, tensors out. README.md maps each equation to its function and test."""
