"""Search for parameters: which are tried, on which images, by what they are judged."""
