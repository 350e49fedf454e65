"""What every transport has to do."""
