"""The report: a leaderboard as JSON, Markdown, CSV, LaTeX, a page and console tables."""
