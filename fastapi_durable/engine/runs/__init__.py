"""Runs apart from their turns: how they are labelled, admitted, cancelled and ended."""
