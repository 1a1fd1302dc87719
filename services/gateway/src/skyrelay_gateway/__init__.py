"""The gateway: status and control over REST, and one page that shows the same."""
