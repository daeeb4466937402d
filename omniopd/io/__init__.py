"""Files, locks, secrets and text for terminals, made safe. Knows no model."""
