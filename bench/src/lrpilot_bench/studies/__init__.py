"""Scripts that measure or write one page each: ``python -m lrpilot_bench.studies.NAME``, in a clone."""
