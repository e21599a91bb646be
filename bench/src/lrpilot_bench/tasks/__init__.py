"""The training problems, one file each, whose code identifies their runs; and how a task is described."""
