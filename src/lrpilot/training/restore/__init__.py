"""Copying the state of torch objects and putting it back, bit for bit. Knows no training.

Comments here, and where a training is put back, name the test that goes red without the line below them.
"""
