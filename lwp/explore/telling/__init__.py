"""What happened in a run that failed, told to a person."""
