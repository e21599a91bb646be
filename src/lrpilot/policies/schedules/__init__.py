"""Schedules written by hand: shapes of the lr over the training, which measure nothing."""
