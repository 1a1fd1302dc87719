"""What tests share: real servers, simulators, waiting."""
