"""The plan of a run, settled before heavy work: config, arms, checks, description."""
