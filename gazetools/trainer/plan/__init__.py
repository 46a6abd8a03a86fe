"""What a run will do, settled before heavy work: config, models, data, costs, problems."""
