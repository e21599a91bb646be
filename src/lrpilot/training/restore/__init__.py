"""Copying the state of torch objects and putting it back, bit for bit. Knows no training."""
