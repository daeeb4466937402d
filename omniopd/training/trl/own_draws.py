"""A TRL trainer whose rollouts are draws of the student's own softmax, as far as its settings do not say otherwise."""

from __future__ import annotations

from typing import Any

from omniopd.models.generating import own_settings_only


class OwnDraws:
    """Goes before a TRL trainer that samples, among a class's bases. TRL hands `generate` the settings that it knows
    (temperature, top-p, top-k, min-p, the repetition penalty, the length); the model's file fills in no others. vLLM is
    given all of them by TRL and reads nothing but end tokens out of that file."""

    model: Any

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        with own_settings_only(self.accelerator.unwrap_model(self.model)):  # type: ignore[attr-defined]
            return super()._generate_single_turn(*args, **kwargs)  # type: ignore[misc]
