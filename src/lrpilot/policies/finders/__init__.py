"""Finders: policies that only measure, and end in a learning rate with its evidence."""
