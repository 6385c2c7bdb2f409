"""What is known about a server, each value with where it is from."""
