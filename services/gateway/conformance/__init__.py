"""The conformance kit: numbered cases that every venue adapter must pass, runnable by a user against any venue."""
