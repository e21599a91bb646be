"""Ways to train a session, one file each: lrpilot's, the schedules people write, framework defaults and peers."""
