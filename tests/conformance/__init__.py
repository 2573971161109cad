"""The unmodified official Polymarket clients against polymarket_sim as a real process."""
