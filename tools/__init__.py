"""Programs for whoever works on this repository; nothing here is installed."""
