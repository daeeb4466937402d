"""Learning: the trainer on TRL, its settings, its checkpoints."""

import os

# TRL reports the name of the trainer and the device to a server unless told not to. Set it to 0 to let it.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
