"""Records to comparisons: which runs count, the oracle, regrets, rows of tables; no torch, no words of a page."""
