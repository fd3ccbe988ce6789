"""Chooses a sweep's best candidate on fake sessions, without a test image of the stream."""
