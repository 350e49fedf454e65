"""Clients for processes that do not have the workflows' code."""
