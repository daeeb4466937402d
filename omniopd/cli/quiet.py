"""Silences libraries that talk while a progress bar is being drawn. Warnings stay."""

from __future__ import annotations


def quiet_libraries() -> None:
    """No bars for loading weights and mapping rows; no advice about generation settings."""
    import datasets
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
