"""What the conformance kit needs of each venue we have, beside its adapter."""
