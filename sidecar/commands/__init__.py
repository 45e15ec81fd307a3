"""The commands of `sidecar`, one a module. What is slow to import waits until a command runs."""
