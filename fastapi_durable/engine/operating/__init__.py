"""The actions of operators on runs."""
