"""Scalewise: adapt a segmentation network to unlabelled images by scale-invariant examples."""
