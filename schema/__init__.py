"""Shapes that cross a boundary: HTTP messages, database records, named queries and migrations."""
