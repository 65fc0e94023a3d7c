"""What is explored, and how it is called: files and scripts, pytest."""
