"""Every error this package raises on purpose.

OmniOPDError
├── ConfigError      what a user wrote cannot work; found before anything runs   (also ValueError)
├── DataError        a data set or a file of prompts is not what was promised    (also ValueError)
├── TeacherError     a provider or a teacher model failed for good               (also RuntimeError)
├── TrainingError    a run that learns nothing                                   (also RuntimeError)
├── CheckpointError  a checkpoint is damaged or does not belong to this run      (also RuntimeError)
├── RunError         a run directory cannot be written, read or continued        (also RuntimeError)
└── Refused          the user has to allow something first (money, programs)     (also PermissionError)

One message is one sentence or two: the value, the place, the way out. A failed audit raises nothing: it is data
(`Continuations.problem`), its tokens fall back to the anchor and the record counts it.
"""

from __future__ import annotations

from omniopd.io.texts import whole


class OmniOPDError(Exception):
    """Base of all errors raised on purpose; the command line prints it without a traceback.

    A message can be written wherever it goes: half a surrogate pair in it, which a provider may have sent, is its
    escape.
    """

    def __init__(self, *words: object) -> None:
        super().__init__(*(whole(word) if isinstance(word, str) else word for word in words))


class ConfigError(OmniOPDError, ValueError):
    """A setting that cannot work."""


class DataError(OmniOPDError, ValueError):
    """A data set, a row or a file of prompts that cannot be read as promised."""


class TeacherError(OmniOPDError, RuntimeError):
    """A teacher that failed for good: retries are over, or retrying cannot help."""


class TrainingError(OmniOPDError, RuntimeError):
    """A run that would go on without learning anything."""


class CheckpointError(OmniOPDError, RuntimeError):
    """A checkpoint that is damaged, cut off, or from another run."""


class RunError(OmniOPDError, RuntimeError):
    """A run directory that cannot be written, read or continued."""


class Refused(OmniOPDError, PermissionError):
    """Something that the user has to allow first."""
