"""Naive twins: slow, obvious implementations the fast ones must agree with."""
