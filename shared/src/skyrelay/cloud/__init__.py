"""The observation network's cloud: its client, its errors, and where the node's credentials are kept."""
