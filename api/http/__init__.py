"""The parts that all routes share: authentication, parameters, bodies, problems and responses."""
