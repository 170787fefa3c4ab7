"""What only hardware can prove: asked of one real device, judged point by point, and kept as a report."""
