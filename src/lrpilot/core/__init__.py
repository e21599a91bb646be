"""The vocabulary, free of torch: what a policy may ask, what it is told, and the records and rules they share."""
