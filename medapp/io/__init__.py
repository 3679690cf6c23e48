"""Every file format in and out, read in a sandbox and within limits."""
