"""What the original scripts have cached, as stores: sessions, and results."""
