"""The checks: plain functions of a `Subject` that raise `AssertionError`, one promise each."""
