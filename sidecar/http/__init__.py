"""The sidecar over HTTP: the same questions as from SQL, its health, and its figures."""
