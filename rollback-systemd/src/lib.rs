//! Systemd unit rewind for rollback: unit files written, reloaded and restarted over D-Bus.
