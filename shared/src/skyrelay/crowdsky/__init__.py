"""CrowdSky, the citizen-science server: its client, and which of its stacks are ours."""
