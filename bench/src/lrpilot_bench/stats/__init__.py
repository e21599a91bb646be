"""Statistics of paired runs: intervals, power, measures; numbers in, numbers out."""
