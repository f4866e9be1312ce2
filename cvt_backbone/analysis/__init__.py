"""What a model costs and whether it works: FLOPs, a trial on random data, a benchmark, a comparison of files."""
