"""Data files that people bring: JSON lines, CSV, Parquet, and the cells in them."""
