"""From a log to requests: items, histories, relevant items and rankings as arrays, and the protocol that splits."""
