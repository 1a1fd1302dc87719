"""What the simulated web servers share: journal, faults, controls, and the server itself."""
