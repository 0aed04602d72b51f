"""What abctl is handed out as: Debian packages (package.deb) and a wheel (package.wheel)."""
