"""NDJSON streams: lines in, answers out, in bounded memory."""
