"""The benchmark harness and the demonstration scenes: imports lzu_export, never the reverse."""
