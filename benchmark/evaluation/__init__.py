"""From rankings on disk to a leaderboard: scores, slices, paired tests, claims. Needs no model."""
