"""The command `import`: files of rows become events by the same way as any producer's."""
