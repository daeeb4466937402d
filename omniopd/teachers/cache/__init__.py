"""Every answer remembered: nothing paid for is asked for twice."""
