"""Figures in SVG, and pages that go through them step by step; both need nothing else."""
