"""The torch-free heart: what a policy may ask, how it is asked, and the maths it decides with."""
