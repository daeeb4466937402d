"""What `benchmarks/teachers.py` measures: calls, crashes, and a teacher that runs here."""
