"""What is known of Redis and Valkey: their wire protocol, their RDB form, how they are captured and restored."""
