"""Fuzzing of every parser that meets bytes from outside: ``python -m tests.fuzz``, see docs/fuzzing.md."""
