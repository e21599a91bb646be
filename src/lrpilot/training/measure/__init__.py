"""What measures a training, and leaves no trace of it: trials, lines, evaluations, and their bill."""
