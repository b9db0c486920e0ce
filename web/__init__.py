"""The site: a form, a result page and a JSON API in front of TorchServe. Imports no other package of the project."""
