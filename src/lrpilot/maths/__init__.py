"""The mathematics that methods decide with: numbers in, numbers out, no action and no state of a flight."""
