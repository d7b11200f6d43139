"""Portal tokens: made, verified, listed and revoked."""
