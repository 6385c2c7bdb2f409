"""Copy and clearing of slots whose ids are on the device."""
