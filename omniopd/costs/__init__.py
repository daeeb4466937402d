"""What something will take before it starts: calls, tokens, dollars, hours; and whether the user agrees."""
