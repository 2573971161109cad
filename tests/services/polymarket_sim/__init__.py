"""Tests of the simulated venue: pure parts, the whole server over an exchange core in memory, and real processes."""
