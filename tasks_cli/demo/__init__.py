"""The demo: the sample app on a local cloud, run on a file of orders and checked row by row."""
