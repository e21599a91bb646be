"""What is typed after ``lrpilot bench``: one file a command, and the options that they share."""
