"""The report: a leaderboard as JSON, Markdown, CSV, LaTeX, a page and console tables."""

from benchmark.report.files import write_report

__all__ = ["write_report"]
