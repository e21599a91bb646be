"""The one loop that flies a policy, what it holds, and what can be flown in place of a model."""
