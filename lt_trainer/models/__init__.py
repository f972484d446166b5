"""Native models: packed inside, the public names, shapes and files outside."""
