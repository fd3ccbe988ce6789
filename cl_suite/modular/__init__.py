"""Modular continual learning: a library of frozen typed modules, and searches for paths in it."""
