"""Which runs are wanted, what identifies a run, and which of them are on record; nothing is trained here."""
