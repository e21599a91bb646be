"""The benchmark of lrpilot: tasks, methods and peers at equal total compute; from a run to its record to a page."""
