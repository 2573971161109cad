"""Tests that mirror services/."""
