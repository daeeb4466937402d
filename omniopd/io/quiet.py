"""Silences libraries that print while a progress bar is drawn. This package's own warnings stay."""

from __future__ import annotations


def quiet_libraries() -> None:
    """No bars for loading weights and mapping rows; no advice about generation settings and old names of settings."""
    import os
    import sys
    import warnings

    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # datasets reads it once it is needed
    if (datasets := sys.modules.get("datasets")) is not None:
        datasets.disable_progress_bars()
    # trl and peft still use names that transformers has renamed.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
