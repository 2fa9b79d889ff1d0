"""How a device does the hot operations. `portable` runs on any array module and is the reference."""
