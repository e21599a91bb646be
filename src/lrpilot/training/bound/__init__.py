"""What is trained: model, optimizer, loss, step and data, bound together, and their whole state."""
