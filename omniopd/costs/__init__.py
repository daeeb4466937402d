"""What something will take before it starts: calls, tokens, dollars, hours, memory; and whether the user agrees."""
