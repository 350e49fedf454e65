"""What holds for a run apart from the turns that drive it: how it is labelled, admitted, cancelled and ended."""
