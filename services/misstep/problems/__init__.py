"""Problems with checked final answers: readers of each format, the quickstart's generator, ingest."""
