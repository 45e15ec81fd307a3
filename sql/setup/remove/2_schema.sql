drop schema sidecar cascade
