"""What every route shares: authentication, parameters, bodies, problems and answers."""
