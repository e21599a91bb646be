"""Methods that choose learning rates: each decides from what it is told, and never sees a model."""
