"""A suite: the YAML file that names data sets, models, metrics and what to compare, validated before anything runs."""
