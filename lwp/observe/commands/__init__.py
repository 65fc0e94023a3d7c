"""The commands that show what threads do."""
