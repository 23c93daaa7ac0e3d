"""A compact investment service that moves money safely."""
