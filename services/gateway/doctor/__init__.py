"""The doctor: can this account trade, and if not, why, in findings that each name their fix. Runs without the group."""
