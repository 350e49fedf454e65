"""What is stored and said: records, errors, activity, time."""
