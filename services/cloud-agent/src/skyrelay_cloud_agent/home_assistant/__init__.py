"""What Home Assistant is told over MQTT, and what it may ask for."""
