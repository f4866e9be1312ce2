"""Time and memory of CvT beside its peers."""
