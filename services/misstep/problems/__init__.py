"""Problems with checked final answers: the readers of each format, the quickstart's generator, and ingest."""
