"""The command `import`: rows of files become events through the same route as any producer's events."""
