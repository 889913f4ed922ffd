"""Misconfigurations that people make: what `promobot doctor` says of each, and what the first deployment says."""
