"""Tests of the exchange: trader-readable tables and one module per source module."""
