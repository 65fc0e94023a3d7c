"""What all commands stand on: options, output, and how the program under `lwp run` ends."""
