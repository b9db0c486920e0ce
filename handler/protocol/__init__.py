"""The wire of the inference API: requests, headers, replies, and KServe's protocols."""
