"""What routes use."""
