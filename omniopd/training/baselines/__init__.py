"""What OmniOPD is compared with: white-box distillation, SFT and GRPO, on the same data and records."""
