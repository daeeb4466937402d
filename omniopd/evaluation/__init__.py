"""Measuring a model on a task, and what a difference between two measurements shows."""
