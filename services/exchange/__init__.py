"""polyexec's own exchange: matching engines, accounts and settlement behind commands and events."""
