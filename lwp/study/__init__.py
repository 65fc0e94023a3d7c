"""What a thread is made of, shown: the map of its TLS, demonstrations, figures."""
