"""What a network is and can do, tried on the network itself: padding, cache, masks, head."""
