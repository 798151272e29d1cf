"""What generative recommendation can do beyond its place on a leaderboard (Rajput 2023, sections 4.3.1, 4.4 and 5)."""
