"""A venue that speaks Polymarket's protocol over our own exchange; it keeps nothing that a restart would lose."""
