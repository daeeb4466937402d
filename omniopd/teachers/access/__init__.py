"""What may pass between a teacher and the network: whose key goes where, one request, one origin."""
