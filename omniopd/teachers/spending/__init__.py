"""What teachers cost: prices, usage, budget and ledger."""
