"""Who may speak to the gateway: passwords, logins, tokens. The gateway and the commands share it."""
