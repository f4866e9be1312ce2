"""Time and memory of CvT beside its peers: the tables of docs/results, each row measured in a process of its own."""
