"""Ask a teacher about the student's answers: the functions behind a training step and behind a click."""

from omniopd.auditing.as_set import audit_as_set
from omniopd.auditing.chunks import INSIDE_CHARACTER, audit
from omniopd.auditing.evidence import evidence, made_of, similarity_named
from omniopd.auditing.scan import scan

__all__ = ["INSIDE_CHARACTER", "audit", "audit_as_set", "evidence", "made_of", "scan", "similarity_named"]
