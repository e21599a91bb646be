"""What is written down: records, their fields and status words, the curve of a run, and the lock on their file."""
