"""The API described: OpenAPI documents and the page ``/docs``."""
