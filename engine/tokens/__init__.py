"""Portal tokens: how they are created, verified, listed and invalidated."""
