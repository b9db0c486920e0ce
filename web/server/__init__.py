"""How gunicorn runs the site: its configuration, its worker, its logs."""
