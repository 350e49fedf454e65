"""The library's data: records, errors, activity and time."""
