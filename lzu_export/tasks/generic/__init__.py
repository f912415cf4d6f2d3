"""Task of any network that is wrapped in a warp, see `lzu_export.wrapping`."""
