"""How cells are run: in this process (`inline`) or each in one of its own (`local`)."""
