"""Encoded bytes -> upright RGB pictures. Nothing here imports torch: decoders are processes of
their own."""
